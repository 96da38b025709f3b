"""The report in a real browser, Debian's chromium without a window: what a reader sees, hears and types."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from musiceval_sk import write_report
from tests.browsers import NEEDS_CHROMIUM, open_chromium
from tests.reporting.studies import HOSTILE, made_clips, made_study

pytest.importorskip("jinja2", reason="reports come with the extra 'report'")
pytest.importorskip("matplotlib", reason="reports come with the extra 'report'")
By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
image_module = pytest.importorskip("PIL.Image", reason="comes with matplotlib")
Wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]
ODD = HOSTILE + " system"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Twelve systems, one of them hostile, ten clips each; sounds for all but one clip."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "sounds").mkdir()
    clips = made_clips(n_systems=12, n_prompts=10, prompts="calm piano, take {}")
    clips.loc[clips["system"] == "S11", ["system", "prompt"]] = [ODD, HOSTILE]
    for clip_id in clips.index[:-1]:
        path = folder / "sounds" / f"{clip_id} #1.wav"
        soundfile.write(path, np.sin(np.arange(8000) / 5) / 4, 8000)
        clips.loc[clip_id, "path"] = str(path)
    quality = np.repeat(np.arange(12.0), 10) / 3 + 1.5
    noise = np.random.default_rng(0).normal(0, 0.4, (2, 120))
    predictors = {"global mean": None, "ridge": quality + noise[0], "SVR": quality[::-1] + noise[1]}
    study = made_study(clips, predictors, targets=("impression", "alignment"))
    ratings = pd.DataFrame({"rater": ["A", "B"] * 120, "clip_id": np.repeat(clips.index, 2)})
    scores = np.random.default_rng(1).integers(1, 6, 240)
    return write_report(
        study, folder / "r.html", clips=clips, ratings=ratings.assign(impression=scores, alignment=scores)
    )


@pytest.fixture
def visit(browser, page):
    """Open a view; after the test, hold the browser's log to be empty and the page to have fetched sounds at most."""

    def go(view="", width=1200):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get("about:blank")
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(page.as_uri() + "#/" + view)
        return browser

    yield go
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    sent = [
        entry["message"]
        for entry in browser.get_log("performance")
        if "requestWillBeSent" in entry["message"]
    ]
    assert not [message for message in sent if '"url":"http' in message]
    assert browser.execute_script("return window.hacked") is None


def all_of(driver, selector):
    return driver.find_elements(By.CSS_SELECTOR, selector)


def one(driver, selector):
    return next(found for found in all_of(driver, selector) if found.is_displayed())


def column(driver, table, number):
    return [cell.text for cell in all_of(driver, f"{table} tbody tr > :nth-child({number})")]


def button(driver, table, label):
    return next(found for found in all_of(driver, f"{table} thead button") if found.text.startswith(label))


def test_overview_shows_verdict_facts_tables_and_figures(visit):
    driver = visit()
    assert "Of two systems it has never heard, ridge picks" in one(driver, ".sentence").text
    assert "120 of 12 systems" in one(driver, ".facts").text
    pictures = all_of(driver, "figure img")
    assert len(pictures) == 8
    assert all(
        driver.execute_script("return arguments[0].naturalWidth > 100", picture) for picture in pictures
    )


def test_a_click_sorts_the_scores_and_another_turns_them_round(visit):
    driver = visit()
    head = button(driver, "table.sortable", "S_SRCC")  # decides, and so comes first, sorted already
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    assert all_of(driver, "table.sortable th:nth-child(2)")[0].text.startswith("S_SRCC")
    assert [name.split()[0] for name in column(driver, ".scores:nth-of-type(1) > .scroll table", 1)[:3]] == [
        "ridge",
        "SVR",
        "global",
    ]
    head.click()
    # What is missing stays last.
    assert [name.split()[0] for name in column(driver, ".scores:nth-of-type(1) > .scroll table", 1)[:3]] == [
        "SVR",
        "ridge",
        "global",
    ]


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
def test_the_keyboard_sorts(visit, key):
    driver = visit("systems")
    head = button(driver, "#view-systems table", "System")
    driver.execute_script("arguments[0].focus()", head)
    driver.switch_to.active_element.send_keys(key)
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    names = column(driver, "#view-systems table", 1)
    assert [name for name in names if name.startswith("S")] == [f"S{i:02d}" for i in range(11)]


def test_the_first_tab_leads_to_a_skip_link(visit):
    driver = visit()
    one(driver, "body").send_keys(Keys.TAB)
    link = driver.switch_to.active_element
    assert link.text == "Skip to the content" and link.rect["x"] >= 0
    link.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "main"


def test_filters_by_system_and_by_words(visit):
    driver = visit("clips")
    assert one(driver, ".count").text.startswith("120 of 120 clips")
    one(driver, ".by-words").send_keys("TAKE piano _p3")
    assert one(driver, ".count").text.startswith("11 of 120 clips")
    one(driver, ".by-system").send_keys("S04")
    assert one(driver, ".count").text.startswith("1 of 120 clips")
    assert column(driver, "#clips-body .clip-table", 5) == ["S04"]
    one(driver, ".by-words").send_keys(" oboe")
    assert one(driver, ".count").text.startswith("No clip matches.")


def test_clips_that_differ_most_come_first_with_both_scores_and_spread(visit):
    driver = visit("clips")
    sizes = [float(text) for text in column(driver, "#clips-body .clip-table", 9)]
    assert sizes == sorted(sizes, reverse=True)
    card = one(driver, ".card").text
    assert "impression" in card and "alignment" in card and "±" in card


def test_rows_come_in_pages(visit):
    driver = visit("clips")
    first = column(driver, "#clips-body .clip-table", 1)
    assert len(first) == 50
    for label, shown in (("Next", "51 to 100 of 120"), ("Next", "101 to 120 of 120")):
        next(found for found in all_of(driver, ".pager button") if found.text == label).click()
        assert shown in one(driver, ".pager").text
    assert not set(first) & set(column(driver, "#clips-body .clip-table", 1))


def hears(driver, audio):
    script = "const a = arguments[0]; return !a.paused && a.currentTime > 0 && a.readyState >= 2"
    Wait(driver, 20).until(lambda _: driver.execute_script(script, audio))


def test_plays_from_a_card_and_from_a_row_one_at_a_time(visit):
    driver = visit("clips")
    card = one(driver, ".card audio")
    assert card.get_attribute("preload") == "none"
    driver.execute_script("arguments[0].loop = true", card)
    card.send_keys(Keys.SPACE)
    hears(driver, card)
    one(driver, ".play").click()
    docked = one(driver, ".player audio")
    driver.execute_script("arguments[0].loop = true", docked)
    hears(driver, docked)
    assert driver.execute_script("return arguments[0].paused", card)
    one(driver, "#player-close").click()
    assert not one(driver, "#main").find_elements(By.CSS_SELECTOR, ".player") and not docked.is_displayed()


def test_plays_what_the_page_holds_itself(browser, visit, page, tmp_path):
    source = next((page.parent / "sounds").iterdir())
    clips = made_clips(n_systems=3, n_prompts=2).assign(path=str(source))
    held = write_report(
        made_study(clips, {"ridge": np.arange(6)}), tmp_path / "h.html", clips=clips, audio="embed"
    )
    visit()
    browser.get(held.as_uri() + "#/clips")
    one(browser, ".play").click()
    docked = one(browser, ".player audio")
    browser.execute_script("arguments[0].loop = true", docked)
    hears(browser, docked)
    assert docked.get_attribute("src").startswith("data:audio/wav;base64,")


def test_a_system_has_a_page_and_back_leads_back(visit):
    driver = visit("systems")
    next(found for found in all_of(driver, "#view-systems a") if found.text == "S03").click()
    assert one(driver, "h1").text == "S03"
    assert driver.switch_to.active_element.get_attribute("id") == "system-title"
    assert one(driver, ".count").text.startswith("10 of 120 clips")
    assert len(all_of(driver, "#view-system circle")) == 10
    driver.back()
    assert one(driver, "h1").text == "Systems"
    driver.forward()
    assert one(driver, "h1").text == "S03"


def test_a_hostile_system_name_is_a_name(visit):
    driver = visit("systems")
    link = next(found for found in all_of(driver, "#view-systems a") if "script" in found.text)
    driver.execute_script("arguments[0].click()", link)
    assert "</script><script>window.hacked=1</script><!--" in one(driver, "h1").text
    assert "window.hacked" in one(driver, ".card .prompt").text


def test_addresses_that_lead_nowhere_say_so(visit):
    assert "No system of that name" in one(visit("system/nobody"), "#view-system").text
    assert one(visit("system/%E0%A4%A"), "h1").text == "Systems"
    assert one(visit("nowhere"), "h1").text == "What the study says"


def test_another_target_and_predictor_can_be_chosen(visit):
    driver = visit("clips")
    before = one(driver, ".card").text
    one(driver, "#predictor").send_keys("SVR")
    assert one(driver, ".card").text != before
    one(driver, "#section").send_keys("alignment")
    assert (
        driver.execute_script("return document.querySelector('#predictor').selectedOptions[0].text") == "SVR"
    )
    assert one(driver, ".card .shown th").text == "alignment"


@pytest.mark.parametrize("view", ["", "systems", "system/S03", "clips", "method"])
def test_a_phone_never_scrolls_sideways(visit, view):
    driver = visit(view, width=390)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390


def test_a_table_wider_than_the_screen_says_so_and_shows_what_decides(visit):
    hint = "return getComputedStyle(arguments[0], '::before').content"
    driver = visit(width=390)
    box = one(driver, ".scores .scroll")
    Wait(driver, 20).until(lambda _: "Scroll sideways" in driver.execute_script(hint, box))
    cell = box.find_element(By.CSS_SELECTOR, "tbody tr td").rect
    assert cell["x"] + cell["width"] < 390
    driver = visit()
    assert driver.execute_script(hint, one(driver, ".scores .scroll")) == "none"


def lightness(driver, selector):
    """Middle and extremes of an element's pixels, 0 to 255."""
    pixels = image_module.open(io.BytesIO(one(driver, selector).screenshot_as_png)).convert("L")
    return np.percentile(np.asarray(pixels), [0, 50, 100])


def test_figures_are_dark_on_a_dark_page_and_light_in_print(visit):
    driver = visit()
    darkest, middle, _ = lightness(driver, "figure img")
    assert darkest < 20 and middle > 250
    try:
        dark = [{"name": "prefers-color-scheme", "value": "dark"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
        _, middle, lightest = lightness(driver, "figure img")
        assert middle < 40 and lightest > 225
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
        darkest, middle, _ = lightness(driver, "figure img")
        assert darkest < 20 and middle > 250
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_captions_of_figures_side_by_side_stand_on_one_line(visit):
    tops = [caption.rect["y"] for caption in all_of(visit(), ".figures figcaption")]
    assert tops[0] == tops[1] and tops[2] == tops[3]


def test_dark_and_print_change_colours_and_what_is_there(visit):
    driver = visit("clips")
    colour = "return getComputedStyle(document.body).backgroundColor"
    shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
    try:
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        assert driver.execute_script(colour) == "rgb(21, 23, 26)"
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert driver.execute_script(colour) == "rgb(255, 255, 255)"
        assert driver.execute_script(shown, ".filters") == "none"
        assert driver.execute_script(shown, "#view-overview") == "block"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_without_clips_the_views_say_what_to_do(browser, visit, tmp_path):
    clips = made_clips(n_systems=3, n_prompts=2)
    bare = write_report(made_study(clips, {"ridge": np.arange(6)}), tmp_path / "b.html")
    visit()
    browser.get(Path(bare).as_uri() + "#/systems")
    assert "option --clips" in one(browser, "#view-systems .empty").text
    browser.get(Path(bare).as_uri() + "#/clips")
    assert one(browser, ".count").text.startswith("6 of 6 clips")
    assert not all_of(browser, ".play")
