"""Plain tables: long, wide (a column a rater or a clip), of pairs, and lists and matrices without a header."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, is_missing, match_ids
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.text import table_of_rows
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.formats.export import Export, is_number, reader

PREFERENCES = ("a", "b", "tie", "both_bad")
_RATER = re.compile(
    r"(rater|subject|listener|participant|assessor|observer|judge|s|p|l|r|sub|subj|vp)?[\s_.-]*\d+", re.I
)


def as_preferences(answers: pd.Series, source: str) -> pd.Series:
    """Write preferences in small letters, and refuse others than the four."""
    texts = pd.Series([str(answer) for answer in answers], answers.index, dtype=object)
    plain = {text: re.sub(r"[\s-]+", "_", text.strip().lower()) for text in {*texts}}
    found = pd.Series([plain[text] for text in texts], answers.index, dtype=object)
    wrong = ~found.isin(PREFERENCES)
    if wrong.any():
        raise ClipsTableError(
            f"{source}preference must be one of {listed(PREFERENCES)}; {wrong.sum()} of {len(found)} are not: {listed(texts[wrong].unique())}"
        )
    return found


@reader(
    "pairs",
    "a table of pairs",
    recognises=lambda export: {*map(readers.plain_name, export.header)} >= {"clipa", "clipb", "preference"},
)
def read_pairs(export: Export) -> pd.DataFrame:
    """Read ``rater, clip_a, clip_b, preference``; columns that are not known stay."""
    named = {"clipa": "clip_a", "clipb": "clip_b", "preference": "preference"}
    plain = {name: named.get(readers.plain_name(name), name) for name in export.table}
    for ours in named.values():
        alike = [name for name in plain if plain[name] == ours]
        if len(alike) > 1:
            raise export.refusal(
                f"columns {listed(map(repr, alike))} all stand for {ours!r}; keep one of them"
            )
    known = {*readers.KNOWN, *named.values(), "position", "system_a", "system_b"}
    export.taken |= {name for name in plain if plain[name] in known}
    table, rater = export.table.rename(columns=plain), export.choose("rater")
    if rater is None:
        return table
    return table.rename(columns={rater: "rater"}).assign(rater=export.raters(rater))


@reader(
    "matrix",
    "a matrix of scores, a row a clip and a column a rater (ITU-R BT.500, ITU-T P.910)",
    recognises=lambda export: len(export.head) > 1 and all(map(_is_of_scores, export.head)),
)
def read_matrix(export: Export) -> pd.DataFrame:
    """Read scores of repeated presentations from further matrices, after a row of commas or of -1.

    Source: https://github.com/Netflix/sureal/tree/master/itur_bt500_demo
    """
    parted = (cells for _, cells in export.rows() if not _is_separator(cells))
    sizes, n_raters = [0], len(next(parted, []))

    def rows() -> Iterator[tuple[int, list[str]]]:
        for line, cells in export.rows():
            if _is_separator(cells):
                sizes.append(0)
            elif not _is_of_scores(cells):
                raise export.refusal(f"line {line} is no row of scores: {listed(cells)}")
            elif len(cells) != n_raters:
                raise export.refusal(
                    f"line {line} has {len(cells)} scores where the first row has {n_raters}"
                )
            else:
                sizes[-1] += 1
                yield line, cells

    raters = [*export.rater_ids([f"R{number}" for number in range(1, n_raters + 1)])]
    scores = table_of_rows(export.path, rows(), raters)
    sizes = sizes[:-1] if sizes[-1] == 0 else sizes
    if len({*sizes}) > 1:
        raise export.refusal(f"every matrix needs as many rows as the first; they have {listed(sizes)}")
    clips = pd.DataFrame({"clip_id": export.clip_names(max(sizes, default=0)) * len(sizes)}, scores.index)
    cells = scores.to_numpy(dtype=object)
    given = np.fromiter((cell.casefold() not in ("", "nan") for cell in cells.flat), bool, cells.size)
    table = _long(cells, given.reshape(cells.shape), clips, "rater", raters, export.score)
    export.use(table[[]])
    return table


def _long(
    table: np.ndarray, given: np.ndarray, rows: pd.DataFrame, name: str, labels: Sequence[str], score: str
) -> pd.DataFrame:
    """Put the given cells below one another, each with what is known of its row and the label of its column."""
    counts, columns = given.sum(axis=1), [*rows, name, score]
    cells = np.empty((counts.sum(), len(columns)), dtype=object, order="F")
    for place, known in enumerate(rows):
        cells[:, place] = np.repeat(rows[known].to_numpy(dtype=object), counts)
    cells[:, -2] = np.broadcast_to(np.array(labels, dtype=object), given.shape)[given]
    cells[:, -1] = table[given]
    return pd.DataFrame(cells, rows.index.repeat(counts), columns, dtype=object, copy=False)


def _is_separator(cells: list[str]) -> bool:
    return {*cells} <= {""} or {*cells} <= {"-1", "-1.0"}


def _is_of_scores(cells: list[str]) -> bool:
    return len(cells) > 1 and all(map(is_number, cells))


@reader(
    "voicemos",
    "single ratings of the VoiceMOS challenge",
    recognises=lambda export: (
        bool(export.head)
        and all(len(row) == 5 and is_number(row[2]) and not is_number(row[1]) for row in export.head)
    ),
)
def read_voicemos(export: Export) -> pd.DataFrame:
    """Read TRAINSET, DEVSET or TESTSET: system, clip, score, sample of the rater, and a rater with age, gender and worker's id.

    Source: https://github.com/unilight/sheet/blob/main/egs/bvcc/local/data_prep.py
    """
    names = ["system", "clip_id", export.score]
    _use_lines(export, [*names, "sample", "worker_info"])
    raters = export.rater_ids(export.table["worker_info"], personal=True)
    return pd.DataFrame({name: export[name] for name in names}).assign(rater=raters)


@reader(
    "mos_list",
    "a list of clips and mean scores",
    recognises=lambda export: {*map(len, export.head)} in ({2}, {3}) and all(map(_is_of_means, export.head)),
)
def read_mos_list(export: Export) -> pd.DataFrame:
    """Read lines of ``clip,score``, as of SSL-MOS, or ``clip,impression,alignment``, as of MusicEval.

    Source: https://github.com/nii-yamagishilab/mos-finetune-ssl/blob/main/mos_fairseq.py
    """
    names = ["clip_id", *(readers.TARGETS if [*map(len, export.head[:1])] == [3] else (export.score,))]
    _use_lines(export, names)
    return pd.DataFrame({name: export[name] for name in names})


def _is_of_means(row: list[str]) -> bool:
    return not is_number(row[0]) and all(map(is_number, row[1:]))


def _use_lines(export: Export, columns: list[str]) -> None:
    table, broken = readers.read_headerless(export.path, columns)
    if broken:
        raise export.refusal(listed(broken))
    export.use(table)


def _is_wide(export: Export) -> bool:
    """Whether columns other than the known ones are raters by their names, or clips since no column names any."""
    if next(export.values(), None):
        return False
    if any(name in export for name in (*readers.TARGETS, *export.targets, "slot", "clip_a", "prompt_id")):
        return False
    rater, clip = export.choose("rater"), export.choose("clip_id")
    others = export.without([*readers.KNOWN, *export.columns, rater, clip])
    if len(others) < 2 or (rater is None) == (clip is None):
        return False
    named = all(_RATER.fullmatch(str(name)) for name in others)
    return named if rater is None else len(_with_scores(export, others)) > 1


def _with_scores(export: Export, columns: list[str]) -> list[str]:
    """Name the columns that hold a number."""
    found = readers.by_columns(export.table, columns)
    return [name for name, _, values in found if np.isfinite(values).any()]


@reader("wide", "a wide table", recognises=_is_wide, general=True)
def read_wide(export: Export) -> pd.DataFrame:
    """Read a table with a column a rater (beside ``clip_id``) or a column a clip (beside ``rater``)."""
    rater, clip = export.choose("rater"), export.choose("clip_id")
    if (rater is None) == (clip is None):
        both = "both, as a long table has" if rater else "neither"
        raise export.refusal(
            f"a wide table has a column clip_id beside those of raters, or a column rater beside those of clips; this one has {both}; "
            f"found: {listed(export.table.columns, most=12)}"
        )
    along, other, role = ("clip_id", "rater", "raters") if rater is None else ("rater", "clip_id", "clips")
    columns = dict.fromkeys([*readers.KNOWN, *export.columns])
    known = [name for name in columns if name in export and name not in (along, rater, clip)]
    across = _with_scores(export, export.without([*known, rater, clip]))
    across = _listed_clips(export, across) if clip is None else across
    export.notes.append(f"{counted(len(across), 'column')} taken as {role}: {listed(across)}")
    export.taken |= {*across}
    cells, places = export.table.to_numpy(dtype=object), export.table.columns.get_indexer(across)
    given, labels = np.zeros(cells.shape, dtype=bool), export.table.columns.to_numpy(dtype=object, copy=True)
    for place in places:
        given[:, place] = ~is_missing(cells[:, place])
    about = {name: export[name] for name in known if name != export.score}
    rows = pd.DataFrame(about | {along: export[rater or clip]}, dtype=object)
    if rater is None:
        labels[places] = export.raters("rater", across)
    else:
        heard = given.any(axis=1)  # who rated nothing gets no number
        rows.loc[heard, along] = export.raters(rater, rows.loc[heard, along])
    return _long(cells, given, rows, other, labels, export.score)


def _listed_clips(export: Export, columns: list[str]) -> list[str]:
    """Keep the columns that the list of clips names, where there is one."""
    if export.listing is None:
        return columns
    names = id_texts(readers.clips_of_list(export.listing))
    found = [name for name, place in zip(columns, match_ids(columns, names), strict=True) if place >= 0]
    if not found:
        raise export.refusal(
            f"no column bears the name of a clip of {export.listing}: columns are {listed(columns)}, clips {listed(names)}"
        )
    return found


@reader("long", "a long table", recognises=lambda export: True, general=True)
def read_long(export: Export) -> pd.DataFrame:
    """Read a table of one row a rating; columns that are not known stay, for they may be items or batches."""
    rater, clip = export.choose("rater"), export.choose("clip_id")
    known = {*readers.KNOWN, *export.targets, *export.columns, rater, clip}
    export.taken |= {name for name in export.table if name in known}
    ours = {rater: "rater", clip: "clip_id"}
    renamed = {theirs: name for theirs, name in ours.items() if theirs not in (None, name)}
    export.notes += [f"column {theirs!r} taken as {name!r}" for theirs, name in renamed.items()]
    table = export.table.rename(columns=renamed)
    if rater is None:
        return table
    return table.assign(rater=export.raters(rater))
