"""JSON of data sets and of programs for listening tests: sureal, audiobox-aesthetics, audiocraft, BeaqleJS, Music Arena."""

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets.text import table_of_objects, table_of_rows
from musiceval_sk.ratings.formats.export import Export, reader

# Fields of battles that are used.
_OF_BATTLES = {
    *("uuid", "vote.preference", "prompt", "prompt.prompt", "a_metadata.system_key", "b_metadata.system_key"),
    *("vote_user.salted_ip", "a_audio_url", "b_audio_url"),
    *("battle_uuid", "user_pseudonym", "preference", "system_a", "system_b", "audio_a", "audio_b"),
}


def _is_of_sureal(export: Export) -> bool:
    videos = export.document.get("dis_videos") if isinstance(export.document, dict) else None
    return isinstance(videos, list) and all(isinstance(video, dict) and "os" in video for video in videos)


@reader("sureal", "a data set of sureal", recognises=_is_of_sureal)
def read_sureal(export: Export) -> pd.DataFrame:
    """Read opinion scores, ``os``: a list with a place a rater, or scores by rater; repeats are lists.

    Source: https://github.com/Netflix/sureal/blob/master/sureal/dataset_reader.py
    """
    videos = export.document["dis_videos"]
    contents = {one.get("content_id"): one for one in export.document.get("ref_videos", [])}

    def rows() -> Iterator[tuple[int, tuple[Any, ...]]]:
        for number, video in enumerate(videos, start=1):
            content = contents.get(video.get("content_id"), {})
            clip = video.get("path") or video.get("asset_id", number)
            prompt = content.get("content_name", video.get("content_id", ""))
            for rater, score in _scores_of_sureal(video["os"]):
                yield number, (rater, clip, prompt, score)

    used = {"dis_videos", "ref_videos", "os", "path", "content_id", "content_name", "asset_id"}
    export.use_fields([export.document, *videos, *contents.values()], used)
    table = table_of_rows(export.path, rows(), ["rater", "clip_id", "prompt_id", export.score])
    return table.assign(rater=export.rater_ids(table["rater"]))


def _scores_of_sureal(scores: Any) -> Iterator[tuple[str, Any]]:
    by_rater = scores if isinstance(scores, dict) else {f"R{n}": one for n, one in enumerate(scores, start=1)}
    for rater, given in by_rater.items():
        for score in given if isinstance(given, list) else [given]:
            if score is not None and score == score:  # nan stands for no vote
                yield rater, score


@reader(
    "audiobox",
    "annotations of audiobox-aesthetics",
    recognises=lambda export: export.holds(_is_of_audiobox),
)
def read_audiobox(export: Export) -> pd.DataFrame:
    """Read a line a clip with a list of scores an axis; places in the lists are no persons, so they become ``slot``.

    Source: https://github.com/facebookresearch/audiobox-aesthetics#evaluation-dataset
    """
    axes, others = set[str](), dict[str, int]()

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        for line, one in export.objects():
            lists = {axis: scores for axis, scores in one.items() if isinstance(scores, list)}
            axes.update(lists)
            for name in (name for name in one if name not in lists):
                others[name] = max(others.get(name, 0), 0 if one[name] is None else line)
            if len({*map(len, lists.values())}) > 1:
                sizes = ", ".join(f"{axis} {len(scores)}" for axis, scores in lists.items())
                raise export.refusal(f"line {line}: axes need equally many scores; they are {sizes}")
            names = ["clip_id", "slot", *map(str.lower, lists)]
            if len({*names}) < len(names):
                raise export.refusal(f"line {line}: axes need names of their own; they are {listed(lists)}")
            for slot, scores in enumerate(zip(*lists.values(), strict=True)):
                yield line, dict(zip(names, (one["data_path"], slot, *scores), strict=True))

    table = table_of_objects(export.path, rows())
    for axis, line in ((name, line) for name, line in others.items() if line and name in axes):
        raise export.refusal(f"line {line}: axis {axis!r} is no list of scores, as it is in other lines")
    export.use_fields([[*axes, *others]], ["data_path", *axes])
    return table.assign(rater=export.rater_ids(table["rater"])) if "rater" in table else table


def _is_of_audiobox(one: dict[str, Any]) -> bool:
    return "data_path" in one and any(isinstance(cell, list) for cell in one.values())


@reader(
    "audiocraft",
    "results of audiocraft's mos.py",
    recognises=lambda export: (
        isinstance(export.document, dict) and {"results", "seed", "user"} <= export.document.keys()
    ),
)
def read_audiocraft(export: Export) -> pd.DataFrame:
    """Read one file of ``results``, a user's answers to the samples of one seed.

    Source: https://github.com/facebookresearch/audiocraft/blob/main/scripts/mos.py
    """
    results, user = export.document["results"], export.document["user"]
    rows = (
        (f"{system}/{result['id']}", system, result["id"], score)
        for result in results
        for system, score in result["models"].items()
    )
    export.use_fields([export.document, *results], {"results", "id", "models"})
    columns = ["clip_id", "system", "prompt_id", export.score]
    table = table_of_rows(export.path, enumerate(rows, start=1), columns)
    return table.assign(rater=export.rater_ids([user], personal=True)[0])


def _is_of_beaqle(export: Export) -> bool:
    found = export.document
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(one, bool) or "TestID" in one for one in found)
    )


@reader("beaqlejs", "results of BeaqleJS", recognises=_is_of_beaqle)
def read_beaqlejs(export: Export) -> pd.DataFrame:
    """Read a session, a file each: ratings of a MUSHRA test, or preferences.

    Source: https://github.com/HSU-ANT/beaqlejs/blob/master/js/beaqle.js
    """
    if any(isinstance(one, bool) for one in export.document):
        raise export.refusal(
            "an ABX test of BeaqleJS says whether X was found, and neither a score nor a preference"
        )
    rows: list[dict[str, Any]] = []
    for one in export.document:
        test, files = one["TestID"], one.get("filename", {})
        about = {"prompt_id": test, "seconds": one.get("Runtime", float("nan")) / 1000}
        for name, score in one.get("rating", {}).items():
            clip = files.get(name) or f"{test}/{name}"
            rows.append({"clip_id": clip, "system": name, export.score: score} | about)
        if "Preference" in one:
            sides = re.findall(r"([AB])=([^,]*)", one["PresentationOrder"])
            pair = {f"clip_{side.lower()}": f"{test}/{name.strip()}" for side, name in sides}
            rows.append(pair | {"preference": one["Preference"]} | about)
    used = {"TestID", "Runtime", "rating", "filename", "Preference", "PresentationOrder"}
    export.use_fields(export.document, used)
    lines = pd.RangeIndex(1, len(rows) + 1, name="line")
    table = pd.DataFrame(rows, lines, list(rows[0]) if rows else ["clip_id", export.score])
    # The file's name is all that tells sessions apart.
    return table.assign(rater=export.rater_of_file(lines))


def _is_battle(one: dict[str, Any]) -> bool:
    published = {"battle_uuid", "system_a", "preference"}
    return {"vote", "a_metadata", "b_metadata"} <= one.keys() or published <= one.keys()


@reader(
    "music_arena",
    "battles of Music Arena",
    recognises=lambda export: export.holds(_is_battle),
)
def read_music_arena(export: Export) -> pd.DataFrame:
    """Read battle logs, or the battles of the published data set; battles without a vote are left out.

    Source: https://github.com/gclef-cmu/music-arena/blob/main/music_arena/dataclass/arena.py
    """
    rows = [{"line": line} | _battle(one) for line, one in export.objects()]
    table = pd.DataFrame(rows, dtype=object).astype({"line": int}).set_index("line")
    voted = table["preference"].notna() & table["preference"].ne("")
    if not voted.all():
        export.notes.append(f"left out {(~voted).sum()} of {len(table)} battles without a vote")
    export.use_fields((_fields(one) for _, one in export.objects()), _OF_BATTLES)
    return table[voted].assign(rater=export.rater_ids(table["rater"][voted], personal=True))


def _fields(one: dict[str, Any]) -> Iterator[str]:
    """Name the fields of objects in an object as ``object.field``."""
    for key, value in one.items():
        yield from [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]


def _battle(one: dict[str, Any]) -> dict[str, Any]:
    """Take a battle from its log or from the data set; a clip is the file's name, else system and battle."""
    if "vote" not in one:
        sides = {side: (one.get(f"system_{side}"), one.get(f"audio_{side}")) for side in "ab"}
        battle, rater, preference = one["battle_uuid"], one.get("user_pseudonym"), one["preference"]
    else:
        systems = {side: (one[f"{side}_metadata"] or {}).get("system_key") or {} for side in "ab"}
        sides = {side: (systems[side].get("system_tag"), one.get(f"{side}_audio_url")) for side in "ab"}
        user, vote = one.get("vote_user") or one.get("prompt_user") or {}, one["vote"] or {}
        battle, rater, preference = one.get("uuid"), user.get("salted_ip"), vote.get("preference")
    prompt = one.get("prompt")
    row: dict[str, Any] = {"rater": rater or f"battle {battle}"}
    for side, (system, audio) in sides.items():
        name = str(audio or "").partition("?")[0].rpartition("/")[2]
        row |= {f"clip_{side}": name or f"{system}/{battle}", f"system_{side}": system}
    return row | {
        "preference": preference,
        "prompt": prompt.get("prompt") if isinstance(prompt, dict) else prompt,
    }
