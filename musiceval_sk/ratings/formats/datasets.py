"""Ratings as data sets publish them: sureal, VoiceMOS, audiobox-aesthetics."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from musiceval_sk.ratings.formats.export import Export
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
