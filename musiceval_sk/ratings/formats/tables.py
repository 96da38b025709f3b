"""Plain tables: long, wide (a column a rater or a clip), and matrices without a header."""

import csv
import io
import re

import numpy as np
import pandas as pd

from musiceval_sk._ids import id_texts, match_ids
from musiceval_sk._text import counted, listed
from musiceval_sk.datasets import readers
from musiceval_sk.datasets.text import delimiter_of
from musiceval_sk.ratings.formats.export import Export, is_number
from musiceval_sk.ratings.formats.registry import reader

RATER_COLUMNS = (
    *("listener", "listener_id", "subject", "subject_id", "participant", "participant_id", "assessor"),
    *("assessor_id", "rater_id", "observer", "judge", "annotator", "annotator_id", "user_id", "worker_id"),
)
CLIP_COLUMNS = (
    *(
        "path",
        "clip",
        "stimulus",
        "stimulus_id",
        "stim",
        "file",
        "filename",
        "wav",
        "wav_name",
        "utt_id",
        "item_id",
    ),
)
_RATER = re.compile(
    r"(rater|subject|listener|participant|assessor|observer|judge|s|p|l|r|sub|subj|vp)?[\s_.-]*\d+", re.I
)


@reader(
    "matrix",
    "a matrix of scores, a row a clip and a column a rater (ITU-R BT.500, ITU-T P.910)",
    source="https://github.com/Netflix/sureal/tree/master/itur_bt500_demo",
    recognises=lambda export: len(export.head) > 1 and all(map(_is_of_scores, export.head)),
)
def read_matrix(export: Export) -> pd.DataFrame:
    """Read scores of repeated presentations from further matrices, after a row of commas or of -1."""
    blocks: list[dict[int, list[str]]] = [{}]
    delimiter, text = delimiter_of(export.text, ",")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not _is_of_scores(cells):
            if row:
                raise export.refusal(f"line {rows.line_num} is no row of scores: {listed(cells)}")
        elif {*cells} <= {""} or {*cells} <= {"-1", "-1.0"}:
            blocks.append({})
        else:
            blocks[-1][rows.line_num] = cells
    shapes = {(len(block), len(cells)) for block in blocks for cells in block.values()}
    if len(shapes) > 1:
        sizes = [f"{clips} x {raters}" for clips, raters in sorted(shapes)]
        raise export.refusal(
            f"every matrix needs as many rows and columns as the first; they are {listed(sizes)}"
        )
    names = export.clip_names(len(blocks[0]))
    scores = [
        (line, f"R{rater}", clip, cell)
        for block in blocks
        for clip, (line, cells) in zip(names, block.items(), strict=True)
        for rater, cell in enumerate(cells, start=1)
        if cell.casefold() not in ("", "nan")
    ]
    table = pd.DataFrame(scores, columns=["line", "rater", "clip_id", export.score]).set_index("line")
    export.use(table[[]])
    return table.assign(rater=export.rater_ids(table["rater"]))


def _is_of_scores(cells: list[str]) -> bool:
    return len(cells) > 1 and all(map(is_number, cells))


def _is_wide(export: Export) -> bool:
    """Whether columns other than the known ones are raters by their names, or clips since no column names any."""
    if export.objects:
        return False
    cells, scores = export.cells, [*readers.TARGETS, *(export.targets or ())]
    if any(name in cells for name in (*scores, "slot", "clip_a", "prompt_id")):
        return False
    rater, clip = export.choose("rater", RATER_COLUMNS), export.choose("clip_id", CLIP_COLUMNS)
    others = cells.without([*readers.KNOWN, rater, clip])
    if len(others) < 2 or (rater is None) == (clip is None):
        return False
    named = all(_RATER.fullmatch(str(name)) for name in others)
    return named if rater is None else sum(_holds_scores(cells.table[name]) for name in others) > 1


def _holds_scores(cells: pd.Series) -> bool:
    return bool(np.isfinite(pd.to_numeric(cells, errors="coerce")).any())


@reader(
    "wide",
    "a wide table",
    source="docs/exports.md",
    recognises=_is_wide,
    general=True,
)
def read_wide(export: Export) -> pd.DataFrame:
    """Read a table with a column a rater (beside ``clip_id``) or a column a clip (beside ``rater``)."""
    cells = export.cells
    rater, clip = export.choose("rater", RATER_COLUMNS), export.choose("clip_id", CLIP_COLUMNS)
    if (rater is None) == (clip is None):
        both = "both, as a long table has" if rater else "neither"
        raise export.refusal(
            f"a wide table has a column clip_id beside those of raters, or a column rater beside those of clips; this one has {both}; "
            f"found: {listed(cells.table.columns, most=12)}"
        )
    known = [name for name in readers.KNOWN if name in cells and name not in (rater, clip)]
    across = [name for name in cells.without([*known, rater, clip]) if _holds_scores(cells.table[name])]
    across = _listed_clips(export, across) if clip is None else across
    role = "raters" if rater is None else "clips"
    export.notes.append(f"{counted(len(across), 'column')} taken as {role}: {listed(across)}")
    along, other = ("clip_id", "rater") if rater is None else ("rater", "clip_id")
    kept = pd.DataFrame({name: cells[name] for name in known})
    parts = [
        kept.assign(**{along: cells[rater or clip], other: name, export.score: cells[name]})
        for name in across
    ]
    table = pd.concat(parts).sort_index(kind="stable")
    given = table[export.score].notna() & table[export.score].astype(str).str.strip().ne("")
    table = table[given]
    return table.assign(rater=export.raters(rater or "rater", table["rater"]))


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


@reader(
    "long",
    "a long table",
    source="docs/exports.md",
    recognises=lambda export: True,
    general=True,
)
def read_long(export: Export) -> pd.DataFrame:
    """Read a table of one row a rating; columns that are not known stay, for they may be items or batches."""
    cells = export.cells
    rater, clip = export.choose("rater", RATER_COLUMNS), export.choose("clip_id", CLIP_COLUMNS)
    table = cells.table.copy()
    for name, column in (("rater", rater), ("clip_id", clip)):
        if column is not None and column != name:
            table = table.rename(columns={column: name})
            export.notes.append(f"column {column!r} taken as {name!r}")
    if rater is not None:
        table["rater"] = export.raters(rater)
    known = (*readers.KNOWN, *(export.targets or ()), *export.columns, rater, clip)
    cells.taken |= {name for name in cells.table if name in known}
    return table
