"""What a page may send: an answer is checked against the test before it is stored."""

import re
from datetime import datetime
from reprlib import repr as shortly
from typing import Any

from musiceval_sk.ratings.formats.tables import PREFERENCES

_FIELDS = {
    "rater",
    "batch",
    "position",
    "trial",
    "scores",
    "seconds",
    "heard",
    "order",
    "answered_at",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_MOST_SECONDS = 1e6
_MOST_ORDER = 1_000_000


def check_answer(answer: Any, rater: str, trials: dict[tuple[int, int], str], test: dict[str, Any]) -> None:
    """Raise unless an answer is one that a rater of the test could give.

    Parameters
    ----------
    answer : Any
        What was sent.
    rater : str
        Who sent it.
    trials : dict of (int, int) to str
        The rater's trials by batch and position.
    test : dict
        The page's test: its method and scales.

    Raises
    ------
    ValueError
        Names what is wrong.
    """
    if not isinstance(answer, dict) or answer.keys() != _FIELDS:
        raise ValueError(f"an answer has exactly the fields {', '.join(sorted(_FIELDS))}")
    if answer["rater"] != rater:
        raise ValueError(f"the answer is of rater {shortly(answer['rater'])}, the token of another")
    place = answer["batch"], answer["position"]
    if not all(_is_whole(number, 0, _MOST_ORDER) for number in place) or place not in trials:
        raise ValueError(f"rater {rater} has no trial at batch and position {shortly(place)}")
    if answer["trial"] != trials[place]:
        raise ValueError(
            f"the trial at batch and position {place} is another than {shortly(answer['trial'])}"
        )
    if not _are_scores(answer["scores"], test):
        raise ValueError(f"scores {shortly(answer['scores'])} cannot be given in a test by {test['method']}")
    if not _is_number(answer["seconds"], 0, _MOST_SECONDS) or not _is_number(answer["heard"], 0, 1):
        raise ValueError("seconds must be 0 or more, heard a share from 0 to 1")
    if not _is_whole(answer["order"], 1, _MOST_ORDER):
        raise ValueError(f"order must be a whole number from 1; got {shortly(answer['order'])}")
    if not _is_time(answer["answered_at"]):
        raise ValueError(
            f"answered_at must be a time such as 2026-01-31T12:00:00.000Z; got {shortly(answer['answered_at'])}"
        )


def _are_scores(scores: Any, test: dict[str, Any]) -> bool:
    if not isinstance(scores, dict):
        return False
    if test["method"] == "pairs":
        return scores.keys() == {"preference"} and scores["preference"] in PREFERENCES
    if scores.keys() != set(test["scales"]):
        return False
    if test["method"] == "slider":
        return all(_is_number(score, 0, 100) for score in scores.values())
    return all(_is_whole(score, 1, 5) for score in scores.values())


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True
