"""Pictures of the report: their colours on a light and on a dark page, and their weight."""

import base64
import re
from importlib.resources import files

import numpy as np
import pytest

from musiceval_sk.reporting.page.media import dark_colour, draw_pictures, follow_scheme
from musiceval_sk.reporting.page.sections import gather
from musiceval_sk.reporting.plots import base
from tests.reporting.studies import made_clips, made_study

STYLE = (files("musiceval_sk.reporting.page") / "templates" / "report.css").read_text(encoding="utf-8")


def schemes():
    """Colours of the page by name, light and dark."""
    light, dark = re.findall(r":root {(.*?)}", STYLE, re.DOTALL)[:2]
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", part)) for part in (light, dark)]


def contrast(one, other):
    """Ratio of WCAG 2.2, 1 to 21."""
    lights = []
    for colour in (one, other):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(lights) / min(lights)


def test_contrast_of_black_and_white_is_21():
    assert contrast("#000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_every_background(scheme):
    colours = schemes()[scheme]
    for text in ("ink", "quiet", "accent", "warm", "good"):
        for ground in ("paper", "card", "wash"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def test_marks_of_figures_can_be_seen_on_light_and_dark():
    to_hex = pytest.importorskip("matplotlib.colors").to_hex
    light, dark = schemes()
    for colour in map(to_hex, (base.INK, base.BLUE, base.ACCENT, base.GREY)):
        assert contrast(colour, light["card"]) >= 3, colour
        assert contrast(dark_colour(colour), dark["card"]) >= 3, colour
    assert contrast(dark_colour("#ffffff"), dark["card"]) < 1.1


def test_every_colour_follows_the_scheme():
    drawn = '<svg><defs>a</defs><path style="fill: none; stroke: #0072b2"/><use xlink:href="#abcdef"/></svg>'
    found = follow_scheme(drawn)
    assert 'stroke: var(--c0072b2)"' in found and 'href="#abcdef"' in found
    light, dark = found.split("@media (prefers-color-scheme:dark)")
    assert "--c0072b2:#0072b2;" in light and f"--c0072b2:{dark_colour('#0072b2')};" in dark
    assert "fill:var(--c000000)" in light


@pytest.mark.parametrize("n_prompts, has_pixels", [(2, False), (200, True)])
def test_thousands_of_dots_are_pixels_and_letters_stay_lines(n_prompts, has_pixels):
    pytest.importorskip("matplotlib", reason="reports come with the extra 'report'")
    clips = made_clips(n_systems=12, n_prompts=n_prompts)
    quality = np.random.default_rng(0).normal(np.repeat(np.arange(12.0), n_prompts))
    section = gather(made_study(clips, {"ridge": quality}, resamples=0), clips)[0][0]
    uri = draw_pictures(section)["residuals"]
    svg = base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()
    assert ("<image" in svg) == has_pixels
    assert "DejaVuSans" in svg and not re.search("(fill|stroke): #", svg)
    assert len(uri) < 250_000
