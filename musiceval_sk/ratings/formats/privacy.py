"""What tells who a rater is: columns that are not copied, and ids that take the place of names."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from musiceval_sk._ids import id_texts


def _words(text: str) -> set[str]:
    return {*text.split()}


_WORDS = _words(
    "email mail phone telephone gender birth birthday birthdate birthyear dob nationality ethnicity postcode latitude longitude ip "
    "ipaddress ipaddr initials surname lastname firstname username nickname prolific mturk workerid"
)
# Of persons when alone or near a word of the second list; country is a genre, too.
_AMBIGUOUS = _words("mobile sex age country city zip geo worker")
_PERSONS = _words(
    "first last full given family middle user your you participant subject rater listener recipient assessor respondent person "
    "worker"
)
_BESIDE = _PERSONS | _words("group range years code number residence origin location id info")


def is_personal(column: object) -> bool:
    """Tell whether a column's name says that it holds a name, an address, a place or the like of a person.

    Parameters
    ----------
    column : object
        Name of the column.

    Returns
    -------
    bool
        True as of ``participant_email``, ``RecipientFirstName``, ``Age``, ``WorkerId``; not of ``file_name``, ``page`` or
        ``country_1``, which may be clips of a genre.
    """
    text = re.sub(r"^[Qq]\d+[\s_.-]+", "", str(column))
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    words = re.findall(r"[a-z]+", parted.casefold())
    named = words in (["name"], ["user"]) or ("name" in words and bool(_PERSONS & {*words}))
    named |= words[:2] == ["how", "old"]
    return named or bool(_WORDS & {*words}) or "".join(words) in _WORDS or _is_of_person(words, text)


def _is_of_person(words: list[str], text: str) -> bool:
    """Tell whether an ambiguous word is meant of a person: alone, without a number, or at most two words from one that is."""
    if len(words) == 1:
        return words[0] in _AMBIGUOUS and not re.search(r"\d", text)
    places = [at for at, word in enumerate(words) if word in _AMBIGUOUS]
    return any(_BESIDE & {*words[max(at - 2, 0) : at], *words[at + 1 : at + 3]} for at in places)


class RaterIds:
    """Ids of raters: as they are, numbered in order of appearance where they are personal, or keyed digests.

    Parameters
    ----------
    salt : str, default=None
        Key of the digests (BLAKE2b, 64 bits): under one salt a rater has one id in every file, and nobody without the salt
        finds the rater by trying names.
    """

    def __init__(self, salt: str | None = None):
        self._key = b"" if salt is None else hashlib.blake2b(salt.encode()).digest()
        self._ids = {"": ""}

    def __call__(self, raters: pd.Series | Sequence[Any], *, personal: bool = False) -> pd.Series:
        """Give the ids of raters; a missing one stays missing."""
        ids = id_texts(raters)
        if self._key or personal:
            for text in dict.fromkeys(ids):
                if text not in self._ids:
                    self._ids[text] = f"R{self._digest(text) if self._key else len(self._ids)}"
            ids = [self._ids[text] for text in ids]
        return pd.Series(ids, raters.index if isinstance(raters, pd.Series) else None, dtype=object)

    def _digest(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), digest_size=8, key=self._key).hexdigest()
