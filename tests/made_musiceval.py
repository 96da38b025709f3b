"""A small data set in exactly MusicEval's layouts, made of synthetic sounds and raters, to try pipelines on."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from musiceval_sk._optional import import_optional
from musiceval_sk.datasets.clips import TARGETS
from musiceval_sk.datasets.musiceval.checks import DEMO_SYSTEMS, PARTS, RATERS_PER_CLIP, SAMPLE_RATE
from musiceval_sk.datasets.synthetic import (
    VALUES,
    Attributes,
    ListeningTest,
    draw_prompts,
    draw_strengths,
    draw_systems,
    phrase,
    play_clips,
    rate,
)

_STEM = "audiomos2025-track1-"
_N_RATERS = 14
_DEV_SHARE = _TEST_SHARE = 0.15
_README = """Synthetic data in the layout of MusicEval, made by musiceval_sk.

Everything here is simulated: sounds, systems, prompts and raters. It shows that software reads the layout; it says
nothing about MusicEval, its systems or its listeners.
"""


def make_musiceval(
    root: str | Path,
    layout: Literal["full", "phase1", "parquet"] = "full",
    *,
    n_systems: int = 4,
    n_prompts: int = 6,
    n_demo_clips: int = 2,
    seconds: float = 1.0,
    random_state: int | None = 0,
) -> ListeningTest:
    """Simulate a small MusicEval and write it in one of the layouts that users get.

    Sounds, prompts and ratings are those of `make_listening_test`. Open systems answer the same prompts; each of the
    six demo systems has clips with prompts of their own. Fourteen raters give whole numbers, five rate each clip, so
    scores are means in steps of 0.2. About 70 % of the clips are dealt to train, 15 % each to dev and test, every
    system in train. "phase1" lists no test clips and has neither their sounds nor their ratings; "parquet" has one
    shard a list with the columns ``audio`` ({bytes, path}), ``impression`` and ``alignment``.

    Parameters
    ----------
    root : str or Path
        Folder to write into; must be new or empty.
    layout : {"full", "phase1", "parquet"}, default="full"
        Layout; "parquet" needs the extra ``parquet``.
    n_systems : int, default=4
        Open systems, at least 1.
    n_prompts : int, default=6
        Shared prompts; with the demo clips' at most 108.
    n_demo_clips : int, default=2
        Clips of each demo system.
    seconds : float, default=1.0
        Length of a clip in seconds, at least 1; sounds are 16 kHz mono.
    random_state : int or None, default=0
        Seed; None gives a new data set each time.

    Returns
    -------
    ListeningTest
        What was written: ``folder``, ``clips`` (with ``prompt_id``, scores and ``split``; the paths of sounds where
        the layout has any), ``ratings``, and the hidden truth of ``systems``.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the folder is not empty.
    """
    root = Path(root).absolute()
    _check_arguments(root, layout, n_systems, n_prompts, n_demo_clips, seconds)
    rng = np.random.default_rng(random_state)
    demo = sorted(DEMO_SYSTEMS)
    names = [name for number in range(1, 1000) if (name := f"S{number:03d}") not in DEMO_SYSTEMS][:n_systems]
    systems = draw_systems(n_systems + len(demo), rng).set_axis(pd.Index([*names, *demo], name="system"))
    wishes = draw_prompts(n_prompts + len(demo) * n_demo_clips, rng)
    clips = _list_clips(names, demo, [phrase(asked, rng) for asked in wishes], n_prompts, n_demo_clips)
    clips["split"] = _deal(clips["system"], rng)
    clips["path"] = [str(root / "wav" / f"{clip}.wav") for clip in clips.index]
    (root / "wav").mkdir(parents=True)
    truth = play_clips(
        [Path(path) for path in clips["path"]],
        _tasks(systems["obedience"], wishes, n_systems, n_prompts, n_demo_clips),
        _strengths(systems["quality"].to_numpy(), n_systems, n_prompts, n_demo_clips, rng),
        seconds,
        SAMPLE_RATE,
        rng,
    )
    ratings = rate(clips.index, truth, _N_RATERS, RATERS_PER_CLIP, rng)
    clips[list(TARGETS)] = ratings.groupby("clip_id")[list(TARGETS)].mean().loc[clips.index].round(1)
    if layout == "phase1":
        for path in clips.loc[clips["split"] == "test", "path"]:
            Path(path).unlink()
        clips = clips[clips["split"] != "test"]
        ratings = ratings[ratings["clip_id"].isin(clips.index)].reset_index(drop=True)
    if layout == "parquet":
        clips = _write_parquet(root, clips)
    else:
        _write_lists(root, layout, clips, ratings)
    return ListeningTest(root, clips, ratings, systems)


def _check_arguments(
    root: Path, layout: str, n_systems: int, n_prompts: int, n_demo_clips: int, seconds: float
) -> None:
    if layout not in ("full", "phase1", "parquet"):
        raise ValueError(f"unknown layout {layout!r}; choose from full, phase1, parquet")
    for name, value in (("n_systems", n_systems), ("n_prompts", n_prompts), ("n_demo_clips", n_demo_clips)):
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if n_systems * (n_prompts - 1) + len(DEMO_SYSTEMS) * (n_demo_clips - 1) < 2:
        raise ValueError(
            f"n_systems={n_systems}, n_prompts={n_prompts} and n_demo_clips={n_demo_clips} leave no clips for dev and "
            "test once train has one of each system; ask for more prompts or demo clips"
        )
    most = int(np.prod([len(values) for values in VALUES]))
    asked = n_prompts + len(DEMO_SYSTEMS) * n_demo_clips
    if asked > most:
        raise ValueError(f"n_prompts and n_demo_clips ask for {asked} prompts; only {most} are distinct")
    if not seconds >= 1:
        raise ValueError(f"seconds={seconds} is too short for a tune; ask for at least 1")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f"{root} is not an empty folder; nothing was written")
    if layout == "parquet":
        import_optional("pyarrow", extra="parquet", purpose="Writing Parquet")


def _list_clips(
    names: list[str], demo: list[str], texts: list[str], n_prompts: int, n_demo_clips: int
) -> pd.DataFrame:
    """List open systems by shared prompts, then demo systems by prompts of their own."""
    rows = [
        (f"{_STEM}{system}_P{number + 1:03d}", system, f"P{number + 1:03d}", texts[number])
        for system, number in product(names, range(n_prompts))
    ]
    own = iter(texts[n_prompts:])
    for system, number in product(demo, range(n_demo_clips)):
        name = f"{system}_P{number + 1:03d}"
        rows.append((_STEM + name, system, name, next(own)))
    return pd.DataFrame(rows, columns=["clip_id", "system", "prompt_id", "prompt"]).set_index("clip_id")


def _tasks(
    obedience: pd.Series, wishes: list[Attributes], n_systems: int, n_prompts: int, n_demo_clips: int
) -> list[tuple[float, Attributes]]:
    """Obedience and wish of each clip, in the order of the clips."""
    open_clips = product(obedience[:n_systems], wishes[:n_prompts])
    demo_clips = zip(obedience[n_systems:].repeat(n_demo_clips), wishes[n_prompts:], strict=True)
    return [*open_clips, *demo_clips]


def _strengths(
    quality: np.ndarray, n_systems: int, n_prompts: int, n_demo_clips: int, rng: np.random.Generator
) -> np.ndarray:
    """Strengths of defects of each clip, in the order of the clips."""
    open_clips = draw_strengths(quality[:n_systems], n_prompts, rng)
    return np.concatenate([open_clips, draw_strengths(quality[n_systems:], n_demo_clips, rng)])


def _deal(systems: pd.Series, rng: np.random.Generator) -> np.ndarray:
    """Deal clips to lists at random; one clip of each system stays in train, as every system of MusicEval does."""
    order = rng.permutation(len(systems))
    first = ~pd.Series(systems.to_numpy()[order]).duplicated().to_numpy()
    free = order[~first]
    n_dev, n_test = (
        min(len(free) // 2, max(1, round(share * len(systems)))) for share in (_DEV_SHARE, _TEST_SHARE)
    )
    split = np.full(len(systems), "train", dtype=object)
    split[free[:n_dev]] = "dev"
    split[free[n_dev : n_dev + n_test]] = "test"
    return split


def _write_lists(root: Path, layout: str, clips: pd.DataFrame, ratings: pd.DataFrame) -> None:
    names = [part for part in PARTS if (clips["split"] == part).any()] + ["total"] * (layout == "full")
    rated = ratings.assign(file=ratings["clip_id"] + ".wav")
    for name in names:
        chosen = clips if name == "total" else clips[clips["split"] == name]
        rows = (f"{clip}.wav,{row.impression:.1f},{row.alignment:.1f}" for clip, row in chosen.iterrows())
        _write(root / "sets" / f"{name}_mos_list.txt", rows)
        mine = rated[rated["clip_id"].isin(chosen.index)]
        scores = zip(mine["file"], mine["rater"], mine["impression"], mine["alignment"], strict=True)
        _write(root / "person_mos" / f"{name}_person_mos.txt", (",".join(map(str, row)) for row in scores))
    systems = clips.groupby("system")[list(TARGETS)].mean()
    rows = (f"{system},{row.impression:.4f},{row.alignment:.4f}" for system, row in systems.iterrows())
    _write(root / "system_mos" / f"system_mos_{layout}.csv", rows)
    demo = clips["system"].isin(DEMO_SYSTEMS)
    shared = clips[~demo].drop_duplicates("prompt_id").sort_values("prompt_id")
    prompts = [f"{row.prompt_id}\t{row.prompt}" for row in shared.itertuples()]
    _write(root / "prompt_info.txt", ["id\ttext", *prompts])
    own = [f"{row.Index}.wav\t{row.prompt}" for row in clips[demo].itertuples()]
    _write(root / "demo_prompt_info.txt", ["id\ttext", *own])
    _write(root / "metadata" / "README.txt", _README.splitlines())


def _write_parquet(root: Path, clips: pd.DataFrame) -> pd.DataFrame:
    """Move sounds into shards, one a list; neither names nor prompts of clips go in."""
    pyarrow = import_optional("pyarrow", extra="parquet", purpose="Writing Parquet")
    parquet = import_optional("pyarrow.parquet", extra="parquet", purpose="Writing Parquet")
    (root / "data").mkdir()
    for part in PARTS:
        chosen = clips[clips["split"] == part]
        audio = [{"bytes": Path(path).read_bytes(), "path": None} for path in chosen["path"]]
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        columns = {"audio": pyarrow.array(audio, type=kind)}
        columns |= {target: pyarrow.array(chosen[target].to_numpy()) for target in TARGETS}
        parquet.write_table(pyarrow.table(columns), root / "data" / f"{part}-00000-of-00001.parquet")
    for path in clips["path"]:
        Path(path).unlink()
    (root / "wav").rmdir()
    _write(root / "README.md", _README.splitlines())
    return clips.drop(columns="path")


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
