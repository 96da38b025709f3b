"""Judgements of pairs: tables of them, and battles of Music Arena."""

from typing import Any

import pandas as pd

from musiceval_sk._text import listed
from musiceval_sk.datasets import readers
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.formats.export import Export
from musiceval_sk.ratings.formats.registry import reader
from musiceval_sk.ratings.formats.tables import RATER_COLUMNS

PREFERENCES = ("a", "b", "tie", "both_bad")
_PAIR = {"clipa", "clipb", "preference"}


def as_preferences(answers: pd.Series, source: str) -> pd.Series:
    """Write preferences in small letters, and refuse others than the four."""
    found = answers.astype(str).str.strip().str.lower().str.replace(r"[\s-]+", "_", regex=True)
    wrong = ~found.isin(PREFERENCES)
    if wrong.any():
        raise ClipsTableError(
            f"{source}preference must be one of {listed(PREFERENCES)}; {wrong.sum()} of {len(found)} are not: {listed(answers[wrong].unique())}"
        )
    return found


@reader(
    "pairs",
    "a table of pairs",
    source="docs/exports.md",
    recognises=lambda export: {*map(readers.plain_name, export.header)} >= _PAIR,
)
def read_pairs(export: Export) -> pd.DataFrame:
    """Read ``rater, clip_a, clip_b, preference``; columns that are not known stay."""
    cells = export.cells
    plain = {
        name: {"clipa": "clip_a", "clipb": "clip_b"}.get(readers.plain_name(name), name)
        for name in cells.table
    }
    plain |= {name: "preference" for name in cells.table if readers.plain_name(name) == "preference"}
    table = cells.table.rename(columns=plain)
    rater = export.choose("rater", RATER_COLUMNS)
    if rater is not None:
        table = table.rename(columns={rater: "rater"}).assign(rater=export.raters(rater))
    known = {*readers.KNOWN, "clip_a", "clip_b", "preference", "position", "system_a", "system_b"}
    cells.taken |= {name for name in cells.table if plain[name] in known}
    return table.assign(preference=as_preferences(table["preference"], f"{export.path}: "))


_OF_BATTLES = {
    *("uuid", "vote.preference", "prompt", "prompt.prompt", "a_metadata.system_key", "b_metadata.system_key"),
    *("vote_user.salted_ip", "a_audio_url", "b_audio_url"),
    *("battle_uuid", "user_pseudonym", "preference", "system_a", "system_b", "audio_a", "audio_b"),
}


def _is_battle(one: dict[str, Any]) -> bool:
    return {"vote", "a_metadata", "b_metadata"} <= one.keys() or {
        "battle_uuid",
        "system_a",
        "preference",
    } <= one.keys()


@reader(
    "music_arena",
    "battles of Music Arena",
    source="https://github.com/gclef-cmu/music-arena/blob/main/music_arena/dataclass/arena.py",
    recognises=lambda export: bool(export.objects) and all(map(_is_battle, export.objects.values())),
)
def read_music_arena(export: Export) -> pd.DataFrame:
    """Read battle logs, or the battles of the published data set; battles without a vote are left out."""
    rows = {line: _battle(one) for line, one in export.objects.items()}
    voted = {line: row for line, row in rows.items() if row["preference"]}
    if len(voted) < len(rows):
        export.notes.append(f"left out {len(rows) - len(voted)} of {len(rows)} battles without a vote")
    fields = dict.fromkeys(field for one in export.objects.values() for field in _fields(one))
    cells = export.use(pd.DataFrame(columns=list(fields)))
    cells.taken |= _OF_BATTLES
    columns = list(next(iter(rows.values())))
    table = pd.DataFrame.from_dict(voted, orient="index", columns=columns).rename_axis("line")
    table["rater"] = export.rater_ids(table["rater"], personal=True)
    return table.assign(preference=as_preferences(table["preference"], f"{export.path}: "))


def _fields(one: dict[str, Any]) -> list[str]:
    """Name the fields of an object, and those of the objects in it."""
    return [
        name
        for key, value in one.items()
        for name in ([f"{key}.{inner}" for inner in value] if isinstance(value, dict) else [key])
    ]


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
