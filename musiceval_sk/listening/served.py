"""A built listening test with its answers: who may ask for what, who is how far, and how often each clip was rated."""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musiceval_sk._files import guarded, parse_json, refused_as, sync_folder
from musiceval_sk._text import listed
from musiceval_sk.listening.answers import EXPERIMENTER, AnswerStore, digest_of_token
from musiceval_sk.listening.design import load_test
from musiceval_sk.listening.page.build import FORMAT, MEDIA_TYPES, PAGE_FILES, test_id

_SOUNDS = ("audio", "audio_a", "audio_b")
_CLIPS = ("clip_id", "clip_a", "clip_b", *_SOUNDS)


class ServedTest:
    """A built test and its answers, as the server and the overview see them.

    Parameters
    ----------
    folder : str or Path
        The folder that `build_page` wrote.
    answers : str or Path
        SQLite file of the answers; made if it is not there. It lies outside of the folder.
    design : str or Path, default=None
        The test's design, which names the clips for the overview.

    Raises
    ------
    ValueError
        If the folder holds no built test, the file cannot hold its answers, or the design is another test's.
    """

    def __init__(self, folder: str | Path, answers: str | Path, design: str | Path | None = None):
        self.folder = Path(folder)
        content = self.folder / "test.json"
        if not content.is_file():
            raise ValueError(f"{self.folder}: holds no built test; musiceval listen build writes one")
        if self.folder.resolve() in Path(answers).resolve().parents:
            raise ValueError(
                f"{answers}: lies in the folder that is served; keep answers outside of {self.folder}"
            )
        damaged, advice = f"{content}: is no test of this version", "build it anew by musiceval listen build"
        with refused_as(ValueError, damaged, advice):
            self._read(content.read_text(encoding="utf-8"))
        identity = self.test["id"]
        self._named = self.batches if design is None else _batches_of(Path(design), identity)
        self.store = AnswerStore(answers, identity)
        self._names = self._token_names()

    def _read(self, text: str) -> None:
        test = parse_json(text)
        if test["format"] != FORMAT:
            raise ValueError(f"its format is {test['format']!r}, not {FORMAT!r}")
        self.batches: dict[str, list[dict[str, Any]]] = test.pop("raters")
        self.test: dict[str, Any] = test
        trials = {rater: dict(_trials(batches)) for rater, batches in self.batches.items()}
        self.trials = {
            rater: {place: trial["trial"] for place, trial in own.items()} for rater, own in trials.items()
        }
        shown = [trial for own in trials.values() for trial in own.values()]
        self.sounds = {
            trial[name] for trial in [*shown, *test["training"]] for name in _SOUNDS if name in trial
        }
        texts = [test["id"], test["method"], *test["scales"], *self.sounds]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("its names are no texts")
        home, names = self.folder.resolve(), [*PAGE_FILES, "texts.js", *self.sounds]
        outside = [name for name in names if not (home / name).resolve().is_relative_to(home)]
        if outside or not all(Path(name).suffix in MEDIA_TYPES for name in self.sounds):
            raise ValueError(f"{listed(outside or self.sounds)}: outside of the folder, or no sounds")

    def write_links(self, path: str | Path, url: str, *, renew: bool = False) -> int:
        """Write a link for each rater, and the experimenter's to the overview, that has none yet.

        Parameters
        ----------
        path : str or Path
            CSV file (rater, link), readable by its owner alone; links are added to those it holds.
        url : str
            Where the server is reached, such as ``http://127.0.0.1:8000``.
        renew : bool, default=False
            Make new links for all; those given away before are void.

        Returns
        -------
        int
            Number of links written.
        """
        place = Path(os.path.realpath(path))
        aside = place.with_name(f"{place.name}.new")
        self._finish(aside, place)
        names = [EXPERIMENTER, *self.batches]
        lacking = [name for name in names if renew or name not in self._names.values()]
        if not lacking:
            return 0
        kept = "" if renew or not place.exists() else place.read_text(encoding="utf-8")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        # Links are on the disk before their tokens are valid, and get their name after that.
        with (
            self.store.new_tokens(lacking) as tokens,
            os.fdopen(os.open(aside, flags, 0o600), "w", newline="", encoding="utf-8") as file,
        ):
            aside.chmod(0o600)
            file.write(kept)
            rows = csv.writer(file)
            if not kept:
                rows.writerow(["rater", "link"])
            for name, token in tokens.items():
                page = "overview#token=" if name == EXPERIMENTER else "#token="
                rows.writerow([guarded(name) or "(overview)", f"{url.rstrip('/')}/{page}{token}"])
            file.flush()
            os.fsync(file.fileno())
        self._names = self._token_names()
        self._finish(aside, place)
        return len(lacking)

    def _finish(self, aside: Path, place: Path) -> None:
        """Give links their name if their tokens are valid, be it after a kill; others are nobody's."""
        if not aside.exists():
            return
        *_, last = aside.read_text(encoding="utf-8").rpartition("token=")
        if self.whose(last.strip()) is None:
            aside.unlink()
        else:
            os.replace(aside, place)
            sync_folder(place.parent)

    def whose(self, token: str) -> str | None:
        """Say whose token it is: a rater's, the experimenter's (an empty name), or nobody's (None)."""
        return self._names.get(digest_of_token(token))

    def _token_names(self) -> dict[bytes, str]:
        """Names by their tokens' digests: how long a look-up takes tells of a digest, from which nobody finds a token."""
        return {digest: name for name, digest in self.store.token_digests().items()}

    def overview(self) -> dict[str, Any]:
        """Say how far each rater is, and how often each clip was rated of how often it is to be."""
        arrived: dict[str, list[tuple[int, int, str]]] = {rater: [] for rater in self.batches}
        for rater, number, position, time in self.store.arrivals():
            arrived.setdefault(rater, []).append((number, position, time))
        planned, rated = Counter[str](), Counter[str]()
        for rater, batches in self._named.items():
            done = {place[:2] for place in arrived[rater]}
            for place, trial in _trials(batches):
                clips = [trial[name] for name in _CLIPS if name in trial]
                planned.update(clips)
                rated.update(clips if place in done else ())
        raters = [
            {
                "rater": rater,
                "done": len(arrived[rater]),
                "total": len(trials),
                "last": max((time for *_, time in arrived[rater]), default=None),
            }
            for rater, trials in self.trials.items()
        ]
        counts = [{"clip": clip, "done": rated[clip], "total": total} for clip, total in planned.items()]
        return {"raters": raters, "clips": sorted(counts, key=lambda clip: clip["done"] / clip["total"])}


def _trials(batches: list[dict[str, Any]]) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Go through trials with their batch and position."""
    for batch in batches:
        for position, trial in enumerate(batch["trials"], 1):
            yield (batch["batch"], position), trial


def _batches_of(design: Path, test: str) -> dict[str, list[dict[str, Any]]]:
    named = load_test(design)
    if test_id(named) != test:
        raise ValueError(f"{design}: is the design of another test than that in the folder")
    return named.raters
