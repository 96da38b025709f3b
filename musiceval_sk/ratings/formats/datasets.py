"""Ratings as data sets publish them: sureal, VoiceMOS, audiobox-aesthetics."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets import readers
from musiceval_sk.ratings.formats.export import Export, is_number
from musiceval_sk.ratings.formats.registry import reader


def _is_of_sureal(export: Export) -> bool:
    videos = export.document.get("dis_videos") if isinstance(export.document, dict) else None
    return isinstance(videos, list) and all(isinstance(video, dict) and "os" in video for video in videos)


@reader(
    "sureal",
    "a data set of sureal",
    source="https://github.com/Netflix/sureal/blob/master/sureal/dataset_reader.py",
    recognises=_is_of_sureal,
)
def read_sureal(export: Export) -> pd.DataFrame:
    """Read opinion scores, ``os``: a list with a place a rater, or scores by rater; repeats are lists."""
    videos = export.document["dis_videos"]
    contents = {one.get("content_id"): one for one in export.document.get("ref_videos", [])}
    rows = []
    for number, video in enumerate(videos, start=1):
        content = contents.get(video.get("content_id"), {})
        about = {
            "clip_id": video.get("path") or video.get("asset_id", number),
            "prompt_id": content.get("content_name", video.get("content_id", "")),
        }
        rows += [(number, rater, *about.values(), score) for rater, score in _scores_of_sureal(video["os"])]
    table = pd.DataFrame(rows, columns=["line", "rater", *about, export.score]).set_index("line")
    used = {"dis_videos", "ref_videos", "os", "path", "content_id", "content_name", "asset_id"}
    inside = dict.fromkeys(key for one in [*videos, *contents.values()] for key in one)
    cells = export.use(pd.DataFrame(columns=[*export.document, *inside]))
    cells.taken |= used
    return table.assign(rater=export.rater_ids(table["rater"]))


def _scores_of_sureal(scores: Any) -> Iterator[tuple[str, Any]]:
    by_rater = scores if isinstance(scores, dict) else {f"R{n}": one for n, one in enumerate(scores, start=1)}
    for rater, given in by_rater.items():
        for score in given if isinstance(given, list) else [given]:
            if score is not None and score == score:  # nan stands for no vote
                yield rater, score


@reader(
    "voicemos",
    "single ratings of the VoiceMOS challenge",
    source="https://github.com/unilight/sheet/blob/main/egs/bvcc/local/data_prep.py",
    recognises=lambda export: (
        bool(export.head)
        and all(len(row) == 5 and is_number(row[2]) and not is_number(row[1]) for row in export.head)
    ),
)
def read_voicemos(export: Export) -> pd.DataFrame:
    """Read TRAINSET, DEVSET or TESTSET: system, clip, score, sample of the rater, and a rater with age, gender and worker's id."""
    cells = export.use(_lines(export, ["system", "clip_id", "score", "sample", "worker_info"]))
    table = pd.DataFrame(
        {"clip_id": cells["clip_id"], "system": cells["system"], export.score: cells["score"]}
    )
    return table.assign(rater=export.rater_ids(cells.table["worker_info"], personal=True))


def _lines(export: Export, columns: Sequence[str]) -> pd.DataFrame:
    table, broken = readers.read_headerless(export.path, columns)
    if broken:
        raise export.refusal(listed(broken))
    return table


@reader(
    "mos_list",
    "a list of clips and mean scores",
    source="https://github.com/nii-yamagishilab/mos-finetune-ssl/blob/main/mos_fairseq.py",
    recognises=lambda export: (
        bool(export.head)
        and all(
            len(row) == len(export.head[0]) in (2, 3)
            and not is_number(row[0])
            and all(map(is_number, row[1:]))
            for row in export.head
        )
    ),
)
def read_mos_list(export: Export) -> pd.DataFrame:
    """Read lines of ``clip,score``, as of SSL-MOS, or ``clip,impression,alignment``, as of MusicEval."""
    scores = readers.TARGETS if len(export.head[0]) == 3 else (export.score,)
    cells = export.use(_lines(export, ["clip_id", *scores]))
    return pd.DataFrame({name: cells[name] for name in ("clip_id", *scores)})


@reader(
    "audiobox",
    "annotations of audiobox-aesthetics",
    source="https://github.com/facebookresearch/audiobox-aesthetics#evaluation-dataset",
    recognises=lambda export: (
        bool(export.objects)
        and all(
            "data_path" in one and any(isinstance(cell, list) for cell in one.values())
            for one in export.objects.values()
        )
    ),
)
def read_audiobox(export: Export) -> pd.DataFrame:
    """Read a line a clip with a list of scores an axis; places in the lists are no persons, so they become ``slot``."""
    rows, others = [], dict[str, None]()
    for line, one in export.objects.items():
        lists = {axis.lower(): scores for axis, scores in one.items() if isinstance(scores, list)}
        others |= dict.fromkeys(name for name in one if name.lower() not in lists and name != "data_path")
        if len({*map(len, lists.values())}) > 1:
            sizes = [f"{axis} {len(scores)}" for axis, scores in lists.items()]
            raise export.refusal(f"line {line}: axes need equally many scores; they are {listed(sizes)}")
        axes = zip(*lists.values(), strict=True)
        rows += [(line, one["data_path"], slot, *scores) for slot, scores in enumerate(axes)]
    export.use(pd.DataFrame(columns=list(others)))
    return pd.DataFrame(rows, columns=["line", "clip_id", "slot", *lists]).set_index("line")
