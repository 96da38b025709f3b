"""A listening test for webMUSHRA, for labs that host it already: a configuration for each batch of each rater, and the sounds."""

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from musiceval_sk.listening.design import ListeningTest, load_test
from musiceval_sk.listening.export import copies_of, names_in
from musiceval_sk.listening.page.build import PageLayout, page_texts, test_id, write_sounds
from musiceval_sk.ratings.formats.tables import PREFERENCES

_GUIDES = {"acr": ("play", "acr"), "slider": ("play", "steps"), "pairs": ("play_pairs", "pairs")}
_PAUSE = 1.0  # seconds between the clips of a pair
_TOP = {
    "bufferSize": 2048,
    "stopOnErrors": True,
    "showButtonPreviousPage": False,
    "remoteService": "service/write.php",
}


def build_webmushra(
    test: ListeningTest | str | Path,
    out: str | Path,
    *,
    loudness: float | None = None,
    texts: str | Path | None = None,
) -> list[Path]:
    """Write a listening test as configurations of webMUSHRA.

    A trial is a page ``likert_single_stimulus``, in the design's order; the score opens once the clip has ended. Clips to practise on
    are played on a page ``generic``, and stay out of the results. What webMUSHRA writes, ``lss.csv``, names clips and raters as the design does.

    Sliders become eleven points from 0 to 100, since those of webMUSHRA say how near a clip comes to a reference of its length. A pair is one
    sound, clip A and after a second clip B, with the four answers below, since its paired comparison asks which of two is the reference.

    Parameters
    ----------
    test : ListeningTest, str or Path
        The test, or the file of its design.
    out : str or Path
        Folder to write, or that of webMUSHRA itself: all goes into its ``configs``.
    loudness : float, default=None
        Bring all clips to this loudness (ITU-R BS.1770) in LUFS, and write them as FLAC; by default files are copied.
    texts : str or Path, default=None
        JSON file of texts, as for `build_page`.

    Returns
    -------
    list of Path
        The configurations, one for each batch of each rater: ``?config=`` and its name, after webMUSHRA's address, opens it.

    Raises
    ------
    ValueError
        If a sound cannot be used.

    References
    ----------
    webMUSHRA's documentation for experimenters, https://github.com/audiolabs/webMUSHRA/blob/master/doc/experimenter.md, its
    pages (lib/webmushra/pages) and what it writes (service/write.php). Two scales need a webMUSHRA that has
    configs/LSS_multiscale.yaml; older ones show one scale a page.

    Examples
    --------
    >>> build_webmushra("design.json", "webMUSHRA")  # doctest: +SKIP
    """
    test = load_test(test) if isinstance(test, str | Path) else test
    layout = PageLayout(test, ".flac" if loudness is not None else None)
    content, words = layout.content(), page_texts(texts)
    layout.check_sounds(loudness is not None or test.method == "pairs")
    name = f"musiceval_{test_id(test)[:8]}"
    configs = Path(out) / "configs"
    sounds = f"configs/resources/{name}"
    (configs / "resources" / name / "audio").mkdir(parents=True, exist_ok=True)
    write_sounds(layout.copies, configs / "resources" / name, loudness)
    copies = copies_of(test)
    written = []
    for rater, batches in content["raters"].items():
        for batch, designed in zip(batches, test.raters[rater], strict=True):
            pages = [_welcome(words, test.method, content["training"], sounds)]
            for position, trial in enumerate(batch["trials"], 1):
                place = f"{batch['batch']}.{position}"
                named = names_in(designed["trials"][position - 1], copies)
                pages.append(_trial(place, trial, named, test, words, sounds))
                if test.method == "pairs":
                    _join(configs / "resources" / name, trial)
            pages.append(_finish(words, rater))
            config = {"testname": words["title"], "testId": name, **_TOP, "pages": pages}
            written.append(configs / f"{name}_{rater}_{batch['batch']}.yaml")
            written[-1].write_text("\n".join(_yaml(config)) + "\n", encoding="utf-8")
    return written


def _welcome(
    words: dict[str, Any], method: str, training: list[dict[str, Any]], sounds: str
) -> dict[str, Any]:
    steps = [*words["consent"], *(words["instructions"][name] for name in ("prompt", *_GUIDES[method]))]
    parts = [html.escape(text) for text in steps]
    if training:
        parts.append(html.escape(words["practice_next"]))
        parts += [player for trial in training for player in _players(trial, words, sounds)]
    content = "".join(f"<p>{part}</p>" for part in parts)
    return {"type": "generic", "id": "welcome", "name": words["consent_title"], "content": content}


def _trial(
    place: str,
    shown: dict[str, Any],
    named: dict[str, Any],
    test: ListeningTest,
    words: dict[str, Any],
    sounds: str,
) -> dict[str, Any]:
    """Make a page of a trial, whose id and stimulus tell the reader of results what was heard."""
    if test.method == "pairs":
        page, clip, sound = f"{place}: {named['clip_a']}", named["clip_b"], _joined(shown)
        below = [*_players(shown, words, sounds), html.escape(words["joined"])]
    else:  # a clip in one trial, which bears its name, is read as a clip, and no condition
        page, clip, sound, below = named["clip_id"], named["clip_id"], shown["audio"], []
    asked = _questions(test, words)
    questions = "".join(f"<li>{html.escape(question)}</li>" for question, _ in asked)
    content = f"<p><b>{html.escape(shown['prompt'])}</b></p><ol>{questions}</ol>"
    responses = [response for _, response in asked]
    return {
        "type": "likert_single_stimulus",
        "id": page,
        "name": words["title"],
        "content": content + "".join(f"<p>{part}</p>" for part in below),
        "mustRate": True,
        "mustPlayback": "ended",
        "stimuli": {clip: f"{sounds}/{sound}"},
        "response": responses if len(responses) > 1 else responses[0],
    }


def _players(trial: dict[str, Any], words: dict[str, Any], sounds: str) -> list[str]:
    """Make a player of each clip of a trial; those of a pair bear its names."""
    labels = {"audio": "", "audio_a": words["player_a"], "audio_b": words["player_b"]}
    return [
        f"{html.escape(label)} <audio controls src='{sounds}/{trial[name]}'></audio>".strip()
        for name, label in labels.items()
        if name in trial
    ]


def _questions(test: ListeningTest, words: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """List what is asked, each with the answers to choose from."""
    if test.method == "pairs":
        preference = words["preference"]
        answers = [{"value": one, "label": html.escape(preference[one])} for one in PREFERENCES]
        return [(preference["question"], answers)]
    asked = []
    for scale in test.scales:
        own = words["scales"].get(scale) or words["other_scale"]
        asked.append((own["question"].format(scale=scale), _points(own["anchors"], test.method)))
    return asked


def _points(anchors: list[str], method: str) -> list[dict[str, Any]]:
    """List the points of a scale: 1 to 5, or 0 to 100, where a word stands at the middle of its fifth of a slider."""
    marks = range(1, 6) if method == "acr" else range(10, 100, 20)
    words = dict(zip(marks, map(html.escape, anchors), strict=True))
    points = marks if method == "acr" else range(0, 101, 10)
    return [{"value": point, "label": f"{point} {words.get(point, '')}".strip()} for point in points]


def _joined(trial: dict[str, Any]) -> str:
    return f"audio/{trial['trial']}.flac"


def _join(folder: Path, trial: dict[str, Any]) -> None:
    """Write the clips of a pair one after the other, as FLAC."""
    read = [soundfile.read(folder / trial[name], always_2d=True) for name in ("audio_a", "audio_b")]
    rate, channels = max(rate for _, rate in read), max(sound.shape[1] for sound, _ in read)
    parts = []
    for sound, own in read:
        same = sound if own == rate else soxr.resample(sound, own, rate)
        parts.append(
            same if same.shape[1] == channels else same.mean(axis=1, keepdims=True).repeat(channels, 1)
        )
    parts.insert(1, np.zeros((round(_PAUSE * rate), channels)))
    soundfile.write(folder / _joined(trial), np.concatenate(parts), rate, format="FLAC", subtype="PCM_16")


def _finish(words: dict[str, Any], rater: str) -> dict[str, Any]:
    """End with the rater's code, of which there is one to choose, so that the results name the rater."""
    code = {"type": "likert", "name": "rater", "label": words["rater_title"]}
    return {
        "type": "finish",
        "name": words["done_title"],
        "content": "",
        "showResults": False,
        "writeResults": True,
        "questionnaire": [code | {"response": [{"value": rater, "label": rater}]}],
    }


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Lay out maps and lists in YAML's block style; webMUSHRA's parser knows no JSON over several lines.

    Keys are put into quotes: a clip id such as "no" is no text in YAML.
    """
    items = value.items() if isinstance(value, dict) else [(None, item) for item in value]
    for key, item in items:
        lead = f"{indent}-" if key is None else f"{indent}{json.dumps(key)}:"
        if isinstance(item, dict | list):
            yield lead
            yield from _yaml(item, indent + "  ")
        else:
            yield f"{lead} {json.dumps(item, ensure_ascii=False)}"
