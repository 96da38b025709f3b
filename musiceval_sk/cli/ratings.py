"""Commands that turn what raters said into scores to be trusted: ``musiceval ratings`` and ``musiceval pairs``."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from musiceval_sk._files import write_csv
from musiceval_sk._text import Table, counted
from musiceval_sk.cli import options, output
from musiceval_sk.exceptions import ClipsTableError

_KINDS = ("real", "copy", "high", "low")


@dataclass(frozen=True)
class ScreeningOptions:
    """Rules by which raters are left out.

    Parameters
    ----------
    probes
        Table of probes: clip_id; kind (real, copy, high or low); copy_of, for a copy, the clip it repeats.
    design
        Design of the listening test (musiceval listen design), which knows the probes, the doubled clips and the systems.
    batch
        Column of batches. Default: batch, if there is one.
    real_least
        Lowest score that real music may get. Default: the middle of the scale, 3 from 1 to 5.
    copies_apart
        Most that scores of two copies may differ. Default: a quarter of the scale's range, 1 from 1 to 5.
    fastest
        Seconds that a rating takes at least; reads the column --time-column.
    time_column
        Column of times in seconds. Default: seconds.
    same_share
        Leave out who gave one score in this share of a batch, or more.
    agreement
        Leave out who correlates less than this with the other raters.
    bt500
        Screen raters as ITU-R BT.500 does, by scores far above and far below those of the others.
    p913
        Screen raters as ITU-T P.913 does, by their correlation with the panel, over clips and systems.
    reference
        MUSHRA: name of the hidden reference; who misses it in more than --most-missed trials is left out.
    anchor
        MUSHRA: name of the anchor that is not to be scored as high as the reference.
    condition_column
        MUSHRA: column that names the condition of a rating. Default: system.
    most_missed
        MUSHRA: share of trials, or, from 1 on, their number. Default: 0.15.
    """

    probes: Path | None = None
    design: Path | None = None
    batch: str | None = None
    real_least: float | None = None
    copies_apart: float | None = None
    fastest: Annotated[float | None, Option(min=0)] = None
    time_column: str | None = None
    same_share: Annotated[float | None, Option(min=0, max=1)] = None
    agreement: Annotated[float | None, Option(min=-1, max=1)] = None
    bt500: Annotated[bool, Option("--bt500")] = False
    p913: Annotated[bool, Option("--p913")] = False
    reference: str | None = None
    anchor: str | None = None
    condition_column: str | None = None
    most_missed: Annotated[float | None, Option(min=0)] = None

    def rules(self, rated: Any, test: Any) -> list[Any]:
        """Make the rules on clips that were rated, of a test if there is one, and refuse an option that none of them uses."""
        from musiceval_sk._ids import id_texts
        from musiceval_sk.listening.export import probes_of
        from musiceval_sk.ratings import screening

        probes: dict[str, list[Any]] = {} if test is None else probes_of(test, id_texts(rated))
        if self.probes is not None:
            if test is not None:
                raise ValueError("--probes and --design both say what the probes are; give one of them")
            probes = _read_probes(self.probes)
        made: list[Any] = []
        if probes.get("real"):
            made.append(screening.RealMusicProbe(probes["real"], **options.given(least=self.real_least)))
        if probes.get("copy"):
            made.append(screening.DuplicateProbe(probes["copy"], **options.given(most=self.copies_apart)))
        if probes.get("high") or probes.get("low"):
            made.append(screening.AnchorRule(high=probes["high"], low=probes["low"]))
        if self.same_share is not None:
            made.append(screening.StraightLining(share=self.same_share))
        if self.fastest is not None:
            made.append(screening.TooFast(self.fastest, **options.given(column=self.time_column)))
        if self.agreement is not None:
            made.append(screening.Disagreement(least=self.agreement))
        made += self._recommended()
        needs: dict[str, tuple[str, Any]] = {
            "batch": ("a rule that screens raters, such as --probes or --design", made),
            "time_column": ("--fastest", self.fastest is not None),
            "real_least": ("--probes with real music, or a --design with some", probes.get("real")),
            "copies_apart": ("--probes with copies, or a --design with doubled clips", probes.get("copy")),
            **dict.fromkeys(("anchor", "condition_column", "most_missed"), ("--reference", self.reference)),
        }
        for name, (user, used) in needs.items():
            given = f"--{name.replace('_', '-')} {getattr(self, name)}"
            if getattr(self, name) is not None and not used:
                raise ValueError(f"{given} does nothing without {user}; add that, or leave it out")
        return made

    def _recommended(self) -> list[Any]:
        """Make the rules of standards."""
        from musiceval_sk.ratings import recommendations

        made: list[Any] = [recommendations.BT500Screening()] if self.bt500 else []
        if self.p913:
            made.append(recommendations.P913Screening())
        if self.reference is not None:
            settings = options.given(anchors=self.anchor, column=self.condition_column, most=self.most_missed)
            made.append(recommendations.MushraScreening(self.reference, **settings))
        return made


@output.writes("mos.csv", "ratings.csv", "reliability.csv", "raters.csv", "left-out.csv", "screening.csv")
def ratings(
    table: Annotated[Path, Argument(metavar="RATINGS")],
    screening: ScreeningOptions,
    reading: options.Reading,
    clips: Path | None = None,
    targets: options.Targets = None,
    scale: Annotated[tuple[float, float] | None, Option()] = None,
    anonymous: options.Anonymous = False,
    method: str = "mean",
    halves: str = "rating",
    rescale: Annotated[tuple[float, float] | None, Option()] = None,
    random_state: options.Seed = 0,
    details: options.Details = False,
    report: Path | None = None,
    audio: str = "link",
    out: Path | None = None,
) -> None:
    """Screen raters, say how far they agree, and average their ratings into opinion scores.

    Parameters
    ----------
    table
        Ratings table (rater, clip_id, one column per target), or the export of another program, or a folder of such.
    clips
        Clips table (clip_id, system) or folder of sounds; other clips are left out. Intervals speak of other
        systems where every clip names its system; else clips are resampled as if they were independent.
    scale
        Lowest and highest score that raters could give. Default: those of the --design (sliders: 0 100), else 1 5.
    method
        mean, median, trimmed, zscore, bias, random_effects or mle.
    halves
        Halve each clip's ratings (rating) or the raters (rater).
    rescale
        Ends of another scale to bring the scores to, such as 1 5. Default: they stay on --scale.
    report
        HTML page to write: raters, agreement, what was left out and why, clips that divide raters.
    audio
        link, embed or none: how that page holds sounds.
    out
        Folder for mos.csv, ratings.csv, left-out.csv, reliability.csv, ...

    Examples
    --------
    musiceval ratings ratings.csv --probes probes.csv --fastest 5 --out mos
    musiceval ratings mushra.csv --scale 0 100 --reference Reference --condition-column condition
    """
    import pandas as pd

    from musiceval_sk import aggregate_ratings, human_ceiling, screen_ratings
    from musiceval_sk.listening import load_test
    from musiceval_sk.listening.export import with_batches
    from musiceval_sk.ratings.bias import FITS
    from musiceval_sk.ratings.read import with_systems
    from musiceval_sk.reporting.summary import detail_ratings, summarize_ratings

    test = None if screening.design is None else load_test(screening.design)
    scale = scale or ((1, 5) if test is None else test.score_range)
    columns = (screening.batch, screening.time_column, screening.condition_column)
    kept, tables = reading.read(table, targets, used=filter(None, columns)), {}
    rules = screening.rules(kept.get("clip_id", []), test)
    if rules and anonymous:
        words = "raters cannot be screened where nobody knows them; leave out --anonymous or the rules"
        raise ValueError(words)
    settings: dict[str, Any] = {"targets": targets, "scale": scale}
    known = None if clips is None else options.load_known(clips, require_path=False)
    if test is not None:
        kept, known = with_batches(kept, test), test.rated_clips() if known is None else known
    found = None
    if rules:
        judged = kept if "system" in kept else with_systems(kept, known)
        found = screen_ratings(judged, rules, batch=screening.batch, **settings)
        kept, tables = found.kept, {"left-out": found.left_out, "screening": found.units}
    settings |= {"clips": known, "rater": None if anonymous else "rater"}
    scores = aggregate_ratings(kept, method=method, rescale=rescale, **settings)
    model = method if method in FITS else "bias"
    ceiling = human_ceiling(kept, by=halves, model=model, random_state=random_state, **settings)
    means = [f"{name} {scores[name].mean():.3f}" for name in scores if f"{name}_count" in scores]
    last = f"{counted(len(scores), 'clip')} by {method}; mean of all: {', '.join(means)}"
    told = (detail_ratings if details else summarize_ratings)(found, ceiling, last)
    output.show(options.parts_in_options(told))
    tables = {"mos": scores.reset_index(), "ratings": kept, "reliability": ceiling.table} | tables
    if ceiling.raters:
        tables["raters"] = pd.concat(ceiling.raters, names=["target", "rater"]).reset_index()
    output.write_files(out, {f"{name}.csv": partial(write_csv, made) for name, made in tables.items()})
    if report is not None:
        from musiceval_sk.reporting.page.raters import write_rating_report

        settings = {"targets": targets, "scale": scale, "audio": audio}
        write_rating_report(kept, ceiling, report, screening=found, clips=known, **settings)
        typer.echo(f"wrote {report}", err=True)


@output.writes("strengths.csv", "differences.csv", "agreement.csv")
def pairs(
    table: Annotated[Path, Argument(metavar="PAIRS")],
    reading: options.Reading,
    clips: Path | None = None,
    level: str = "system",
    ties: str = "davidson",
    prior: Annotated[float, Option(min=0)] = 0.0,
    elo: Annotated[bool, Option("--elo")] = False,
    predictions: Path | None = None,
    targets: options.Targets = None,
    out: Path | None = None,
) -> None:
    """Turn preferences between pairs of clips into strengths, and judge predictions by them.

    Parameters
    ----------
    table
        Pairs table (rater, clip_a, clip_b, preference: a, b, tie or both_bad), or the export of another program.
    clips
        Clips table (clip_id, system, prompt) or folder of sounds.
    level
        system or clip: whose strengths.
    ties
        davidson, with a probability of their own, or half, half a win for both.
    prior
        Ties of everyone with an imagined average one, which shrink strengths and keep them finite.
    elo
        Strengths on Elo's scale: mean 1000, 400 points for odds of 10.
    predictions
        Predictions (clip_id, one column per target), to be judged by these pairs.
    out
        Folder for strengths.csv, differences.csv (of systems) and agreement.csv.

    Examples
    --------
    musiceval pairs pairs.csv --clips clips.csv --predictions predictions.csv --out strengths
    """
    from musiceval_sk.datasets.clips import TARGETS
    from musiceval_sk.ratings.answers import read_answers
    from musiceval_sk.ratings.pairs import pair_strengths, pairwise_agreement

    known = None if clips is None else options.load_known(clips, require_path=False)
    judged = reading.read(table, None)
    strengths = pair_strengths(judged, clips=known, level=level, ties=ties, prior=prior, elo=elo)
    output.show(strengths)
    files = {"strengths.csv": partial(write_csv, strengths.table, index=True)}
    if level == "system":  # of clips there are very many
        files["differences.csv"] = partial(write_csv, strengths.differences)
    if predictions is not None:
        scores = read_answers(predictions, targets=targets, listing=reading.listing)
        chosen = targets or [name for name in TARGETS if name in scores]
        found = {name: pairwise_agreement(scores[name], judged, clips=known) for name in chosen}
        import pandas as pd

        agreement = pd.concat(found, names=["target"])
        output.show(["", Table(agreement.round(3), na_rep="-")])
        files["agreement.csv"] = partial(write_csv, agreement, index=True)
    output.write_files(out, files)


def _read_probes(path: Path) -> dict[str, list[Any]]:
    """Read probes by kind; a copy comes with the clip that it repeats."""
    from musiceval_sk.datasets.readers import read_table, require_columns

    table = read_table(path)
    require_columns(table, ["clip_id", "kind"])
    texts = table.reindex(columns=["clip_id", "kind", "copy_of"]).fillna("").astype(str)
    texts = texts.apply(lambda column: column.str.strip())
    is_copy = texts["kind"] == "copy"
    wrong = ~texts["kind"].isin(_KINDS) | (texts["clip_id"] == "") | (is_copy & (texts["copy_of"] == ""))
    for line, (clip, kind, original) in texts[wrong].iterrows():
        raise ClipsTableError(
            f"{path}: line {line}: a probe has a clip_id, a kind of {', '.join(_KINDS)}, and, if it is a copy, "
            f"copy_of; this one has clip_id {clip!r}, kind {kind!r}, copy_of {original!r}"
        )
    found = {kind: list(texts["clip_id"][texts["kind"] == kind]) for kind in _KINDS}
    return found | {"copy": list(texts[is_copy][["copy_of", "clip_id"]].itertuples(index=False, name=None))}
