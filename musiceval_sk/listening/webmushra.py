"""A listening test for webMUSHRA, for labs that host it already: a configuration for each batch of each rater, and the sounds."""

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musiceval_sk.listening.design import ListeningTest, load_test
from musiceval_sk.listening.export import copies_of
from musiceval_sk.listening.page.build import PageLayout, page_texts, test_id, write_sounds

_TOP: dict[str, object] = {"bufferSize": 2048, "stopOnErrors": True, "showButtonPreviousPage": False}
_TOP |= {"remoteService": "service/write.php"}
# Every other key is a clip id, and is put into quotes: one such as "no" is no text in YAML.
_KEYS = {
    "testname",
    "testId",
    *_TOP,
    "pages",
    "type",
    "id",
    "name",
    "content",
    "mustRate",
    "mustPlayback",
    "stimuli",
}
_KEYS |= {"response", "value", "label", "showResults", "writeResults", "questionnaire"}


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

    Parameters
    ----------
    test : ListeningTest, str or Path
        The test, or the file of its design; by ``"acr"``.
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
        If the test is by sliders or pairs, or a sound cannot be used.

    References
    ----------
    webMUSHRA's documentation for experimenters, https://github.com/audiolabs/webMUSHRA/blob/master/doc/experimenter.md. Two scales
    need a webMUSHRA that has configs/LSS_multiscale.yaml; older ones show one scale a page.

    Examples
    --------
    >>> build_webmushra("design.json", "webMUSHRA")  # doctest: +SKIP
    """
    test = load_test(test) if isinstance(test, str | Path) else test
    if test.method != "acr":
        raise ValueError(
            f"webMUSHRA has sliders, and pairs, only beside a reference, which this test by {test.method!r} has not; design it with "
            "method='acr', or build the page of musiceval_sk"
        )
    layout = PageLayout(test, ".flac" if loudness is not None else None)
    content, words = layout.content(), page_texts(texts)
    layout.check_sounds(loudness is not None)
    name = f"musiceval_{test_id(test)[:8]}"
    configs = Path(out) / "configs"
    sounds = f"configs/resources/{name}"
    (configs / "resources" / name / "audio").mkdir(parents=True, exist_ok=True)
    write_sounds(layout.copies, configs / "resources" / name, loudness)
    training = [f"{sounds}/{trial['audio']}" for trial in content["training"]]
    written = []
    for rater, batches in content["raters"].items():
        for batch, designed in zip(batches, test.raters[rater], strict=True):
            pages = [_welcome(words, training)]
            pages += _trials(batch["trials"], designed["trials"], test, words, sounds)
            pages.append(_finish(words, rater))
            config = {"testname": words["title"], "testId": name, **_TOP, "pages": pages}
            written.append(configs / f"{name}_{rater}_{batch['batch']}.yaml")
            written[-1].write_text("\n".join(_yaml(config)) + "\n", encoding="utf-8")
    return written


def _welcome(words: dict[str, Any], training: list[str]) -> dict[str, Any]:
    steps = [*words["consent"], *(words["instructions"][name] for name in ("prompt", "play", "acr"))]
    parts = [html.escape(text) for text in steps]
    if training:
        parts.append(html.escape(words["practice_next"]))
        parts += [f"<audio controls src='{sound}'></audio>" for sound in training]
    content = "".join(f"<p>{part}</p>" for part in parts)
    return {"type": "generic", "id": "welcome", "name": words["consent_title"], "content": content}


def _trials(
    shown: list[dict[str, Any]],
    designed: list[dict[str, Any]],
    test: ListeningTest,
    words: dict[str, Any],
    sounds: str,
) -> Iterator[dict[str, Any]]:
    """Make a page a trial; its id is its clip's name, for a clip in one trial is read as a clip, and no condition."""
    copies = {clip: copy for copy, clip in copies_of(test).items()}
    scales = [
        words["scales"].get(scale) or words["other_scale"] | {"question": scale} for scale in test.scales
    ]
    responses = [
        [
            {"value": score, "label": f"{score} {html.escape(anchor)}"}
            for score, anchor in enumerate(scale["anchors"], 1)
        ]
        for scale in scales
    ]
    questions = "".join(
        f"<li>{html.escape(scale['question'].format(scale=name))}</li>"
        for name, scale in zip(test.scales, scales, strict=True)
    )
    for trial, source in zip(shown, designed, strict=True):
        clip = source["clip_id"]
        clip = copies[clip] if source.get("repeat") else clip
        yield {
            "type": "likert_single_stimulus",
            "id": clip,
            "name": words["title"],
            "content": f"<p><b>{html.escape(trial['prompt'])}</b></p><ol>{questions}</ol>",
            "mustRate": True,
            "mustPlayback": "ended",
            "stimuli": {clip: f"{sounds}/{trial['audio']}"},
            "response": responses if len(responses) > 1 else responses[0],
        }


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
    """Lay out maps and lists in YAML's block style; webMUSHRA's parser knows no JSON over several lines."""
    items = value.items() if isinstance(value, dict) else [(None, item) for item in value]
    for key, item in items:
        lead = f"{indent}-" if key is None else f"{indent}{key if key in _KEYS else json.dumps(key)}:"
        if isinstance(item, dict | list):
            yield lead
            yield from _yaml(item, indent + "  ")
        else:
            yield f"{lead} {json.dumps(item, ensure_ascii=False)}"
