"""The folder of a listening test's page: what raters see and hear, and nothing that they must not know."""

import copy
import hashlib
import hmac
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from musiceval_sk._files import begins_as_sound, parse_json, refused_as
from musiceval_sk._optional import import_optional
from musiceval_sk._text import listed
from musiceval_sk.listening.design import ListeningTest, load_test

SCRIPTS = ("elements.js", "answers.js", "player.js", "scales.js", "trial.js", "listen.js")
PAGE_FILES = ("index.html", "listen.css", *SCRIPTS)
FORMAT = "musiceval-listening-page"
MEDIA_TYPES = {".wav": "wav", ".flac": "flac", ".mp3": "mpeg", ".ogg": "ogg", ".oga": "ogg", ".opus": "ogg"}
MEDIA_TYPES |= {".m4a": "mp4", ".aac": "aac", ".webm": "webm"}
_SOUNDS = {"clip_id": "audio", "clip_a": "audio_a", "clip_b": "audio_b"}
_UNREAD = (".m4a", ".aac", ".webm")  # played by browsers, but not read by libsndfile


def build_page(
    test: ListeningTest | str | Path,
    out: str | Path,
    *,
    loudness: float | None = None,
    heard_share: float = 0.9,
    texts: str | Path | None = None,
) -> Path:
    """Write the page of a listening test: a static folder that works from a web host, `serve_page` or a memory stick.

    Parameters
    ----------
    test : ListeningTest, str or Path
        The test, or the file of its design.
    out : str or Path
        The folder; new, empty, or of an earlier build, which is replaced. The same design gives the same names, so that a page can be
        built anew while raters are at it.
    loudness : float, default=None
        Bring all clips to this integrated loudness (ITU-R BS.1770) in LUFS, such as -23, and write them as FLAC without tags. By default the
        files are copied as they are; their kinds and tags, which may tell what a clip is, stay.
    heard_share : float in [0, 1], default=0.9
        Share of a clip that a rater has to hear before the scores open. What is sought past does not count.
    texts : str or Path, default=None
        JSON file of texts that replace those of the page, as for a translation: any part of ``texts.json``.

    Returns
    -------
    Path
        The folder. Its files hold no system, no probe or repeat mark and no name of a sound file.

    Raises
    ------
    ValueError
        If the folder holds something else, a clip's file is missing or cannot be played by browsers, a text is unknown, or
        a clip would clip or is silent at ``loudness``; the message says what would do.
    ImportError
        If ``loudness`` is given and pyloudnorm is missing; it comes with the extra ``listen``.

    Examples
    --------
    >>> build_page("design.json", "test", loudness=-23)  # doctest: +SKIP
    """
    if not 0 <= heard_share <= 1:
        raise ValueError(f"heard_share is a share of a clip, from 0 to 1; got {heard_share}")
    design = load_test(test) if isinstance(test, str | Path) else test
    words = page_texts(texts)
    page = PageLayout(design, ".flac" if loudness is not None else None)
    content = page.content() | {"heard_share": heard_share}
    out = Path(out)
    _check_folder(out)
    page.check_sounds(loudness is not None)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    write_sounds(page.copies, out, loudness)
    for name in PAGE_FILES:
        (out / name).write_text(_asset(name), encoding="utf-8")
    for name, variable, value in (("texts", "listenTexts", words), ("test", "listenTest", content)):
        text = json.dumps(value, ensure_ascii=False, indent=1)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        # A page opened from a disk may load a script, but not read a file.
        (out / f"{name}.js").write_text(f"window.{variable} = {text};\n", encoding="utf-8")
    return out


class PageLayout:
    """What a design becomes on the page: opaque names for trials and clips."""

    def __init__(self, test: ListeningTest, suffix: str | None):
        self._test, self._suffix = test, suffix
        self._salt = _salt(test)
        self.copies: dict[Path, list[Path]] = {}

    def content(self) -> dict[str, Any]:
        """Lay out the test for the page."""
        return {
            "format": FORMAT,
            "version": 1,
            "id": test_id(self._test),
            "method": self._test.method,
            "scales": self._test.scales,
            "training": [self._trial(trial, {}) for trial in _training(self._test)],
            "raters": {rater: self._batches(rater, batches) for rater, batches in self._test.raters.items()},
        }

    def check_sounds(self, are_decoded: bool) -> None:
        """Raise unless every clip is there and will sound."""
        missing = [path for path in self.copies if not os.path.isfile(path)]
        if missing:
            raise ValueError(f"{len(missing)} sound files are not there: {listed(missing)}")
        known = [path for path in self.copies if are_decoded or path.suffix.lower() in MEDIA_TYPES]
        if len(known) < len(self.copies):
            unknown = [path for path in self.copies if path not in known]
            raise ValueError(
                f"browsers do not play {listed(unknown)}; convert them to one of {', '.join(MEDIA_TYPES)}, or set loudness=, which "
                "writes FLAC"
            )
        for path in known:
            _check_readable(path, are_decoded)

    def _batches(self, rater: str, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        times: dict[str, int] = {}
        made = []
        for batch in batches:
            trials = []
            for position, trial in enumerate(batch["trials"], 1):
                name = _trial_name(self._salt, rater, batch["batch"], position)
                trials.append({"trial": name} | self._trial(trial, times))
            made.append({"batch": batch["batch"], "trials": trials})
        return made

    def _trial(self, trial: dict[str, Any], times: dict[str, int]) -> dict[str, Any]:
        clips: dict[str, str] = {key: trial[name] for name, key in _SOUNDS.items() if name in trial}
        prompts = [self._test.clips[clip].get("prompt") or "" for clip in clips.values()]
        return {"prompt": prompts[0]} | {key: self._audio(clip, times) for key, clip in clips.items()}

    def _audio(self, clip: str, times: dict[str, int]) -> str:
        """Name a clip's copy; what a rater hears again bears another name, so that nothing gives a repeat away."""
        times[clip] = times.get(clip, 0) + 1
        source = Path(self._test.clips[clip]["path"])
        name = self._opaque("audio", clip, times[clip]) + (self._suffix or source.suffix.lower())
        copies = self.copies.setdefault(source, [])
        if Path(name) not in copies:
            copies.append(Path(name))
        return f"audio/{name}"

    def _opaque(self, *parts: object) -> str:
        return _opaque(self._salt, *parts)


def test_id(test: ListeningTest) -> str:
    """Name a test by its design: whatever changes there, also one prompt, makes another test of it."""
    return _opaque(_salt(test), "test")


def trial_names(test: ListeningTest) -> dict[str, dict[tuple[int, int], str]]:
    """Name the trials as the page does: by rater, and by batch and position."""
    salt, names = _salt(test), dict[str, dict[tuple[int, int], str]]()
    for rater, batch, position, _ in test.trials():
        names.setdefault(rater, {})[batch, position] = _trial_name(salt, rater, batch, position)
    return names


def _trial_name(salt: bytes, rater: str, batch: int, position: int) -> str:
    return "t_" + _opaque(salt, "trial", rater, batch, position)


def _salt(test: ListeningTest) -> bytes:
    """Digest a design but for the place of its files, so that it can be moved."""
    clips = {name: clip | {"path": ""} for name, clip in test.clips.items()}
    return hashlib.sha256(json.dumps(asdict(test) | {"clips": clips}, sort_keys=True).encode()).digest()


def _opaque(salt: bytes, *parts: object) -> str:
    return hmac.new(salt, json.dumps(parts).encode(), hashlib.sha256).hexdigest()[:24]


def _training(test: ListeningTest) -> list[dict[str, str]]:
    """Make trials of the clips to practise on; of pairs, one of two clips each."""
    if test.method == "pairs":
        pairs = zip(test.training[::2], test.training[1::2], strict=False)
        return [{"clip_a": a, "clip_b": b} for a, b in pairs]
    return [{"clip_id": clip} for clip in test.training]


def page_texts(path: str | Path | None = None) -> dict[str, Any]:
    """Read the page's texts, those of a file in the place of its own."""
    known = json.loads(_asset("texts.json"))
    if path is None:
        return known
    with refused_as(ValueError, f"{path}: cannot be used as the page's texts"):
        return _replaced(known, parse_json(Path(path).read_text(encoding="utf-8")), "")


def _replaced(known: dict[str, Any], own: dict[str, Any], place: str) -> dict[str, Any]:
    """Put own texts in the place of known ones; only scales may be new."""
    made = copy.copy(known)
    for name, value in own.items():
        if name not in known and place != "scales.":
            raise ValueError(f"unknown text {place + name!r}; known are {listed(known, most=100)}")
        if name in known and type(value) is not type(known[name]):
            raise ValueError(
                f"text {place + name!r} must be a {type(known[name]).__name__}, as in texts.json; got {value!r}"
            )
        made[name] = (
            _replaced(known[name], value, f"{place}{name}.") if isinstance(known.get(name), dict) else value
        )
    return made


def _check_folder(out: Path) -> None:
    if out.is_file():
        raise ValueError(f"{out}: is a file; name a folder to write")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "test.json").is_file() or FORMAT not in (out / "test.json").read_text(encoding="utf-8"):
        raise ValueError(f"{out}: holds other files; name a new or empty folder")


def _check_readable(path: Path, is_decoded: bool) -> None:
    if path.suffix.lower() in _UNREAD and not is_decoded:
        if not begins_as_sound(path):
            raise ValueError(f"{path}: does not begin as a sound")
        return
    try:
        frames = soundfile.info(path).frames
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as sound ({error})") from error
    if frames == 0:
        raise ValueError(f"{path}: holds no sound")


def write_sounds(copies: dict[Path, list[Path]], out: Path, loudness: float | None) -> None:
    """Write each sound under its names into ``out / "audio"``, levelled if a loudness is given, and remove what else is there."""
    targets = {source: [out / "audio" / name for name in names] for source, names in copies.items()}
    if loudness is not None:
        write_levelled(targets, loudness)
    else:
        for source, names in targets.items():
            for name in names:
                shutil.copyfile(source, name)
    wanted = {name for names in targets.values() for name in names}
    for old in set((out / "audio").iterdir()) - wanted:
        old.unlink()


def _asset(name: str) -> str:
    return (files("musiceval_sk.listening.page") / "assets" / name).read_text(encoding="utf-8")


MOST_TRUE_PEAK = -1.0  # dBTP, as EBU R 128 has it
_BLOCK_SECONDS = 0.4
_OVERSAMPLING = 4


def write_levelled(sources: Mapping[Path, list[Path]], loudness: float) -> None:
    """Write clips at one loudness, as FLAC of 16 bits without tags.

    Parameters
    ----------
    sources : mapping of Path to list of Path
        Where each clip goes, by its sound file.
    loudness : float
        Integrated loudness by ITU-R BS.1770 in LUFS, such as -23. A mono file counts as two equal channels, as it is played by
        both loudspeakers; a clip shorter than 0.4 s is measured as if it were repeated.

    Raises
    ------
    ValueError
        If a clip is silent, or would pass -1 dB of true peak (4 times oversampled) at that loudness: nothing is limited or
        clipped, and no clip left quieter than the others. The message names the highest loudness at which all fit.
    """
    levels = {path: _level(*_read(path)) for path in sources}
    silent = [path for path, (level, _) in levels.items() if level == -math.inf]
    if silent:
        raise ValueError(
            f"silent clips cannot be brought to a loudness; leave them out of the test: {listed(silent)}"
        )
    highest = {path: level + MOST_TRUE_PEAK - peak for path, (level, peak) in levels.items()}
    over = [path for path, most in highest.items() if most < loudness]
    if over:
        fits = math.floor(10 * min(highest.values())) / 10
        raise ValueError(
            f"at {loudness:g} LUFS {len(over)} of {len(sources)} clips would pass {MOST_TRUE_PEAK:g} dB of true peak: "
            f"{listed(over)}; the highest loudness at which all fit is {fits:g}"
        )
    for path, targets in sources.items():
        samples, rate = _read(path)
        levelled = samples * 10 ** ((loudness - levels[path][0]) / 20)
        for target in targets:
            soundfile.write(target, levelled, rate, format="FLAC", subtype="PCM_16")


def _read(path: Path) -> tuple[np.ndarray, int]:
    return soundfile.read(path, dtype="float64", always_2d=True)


def _level(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Measure integrated loudness in LUFS and true peak in dB."""
    pyloudnorm: Any = import_optional("pyloudnorm", extra="listen", purpose="One loudness")
    if not samples.any():
        return -math.inf, -math.inf
    peak = np.abs(soxr.resample(samples, rate, _OVERSAMPLING * rate)).max()
    heard = samples.repeat(2, axis=1) if samples.shape[1] == 1 else samples
    times = math.ceil(_BLOCK_SECONDS * rate / len(heard)) + 1
    if len(heard) < _BLOCK_SECONDS * rate:
        heard = np.tile(heard, (times, 1))
    return float(pyloudnorm.Meter(rate).integrated_loudness(heard)), 20 * math.log10(peak)
