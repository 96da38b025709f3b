"""The page from a disk, by mouse and keyboard: what a rater can do, and cannot."""

import json

import pytest

from musiceval_sk.listening import build_page
from tests.browsers import NEEDS_CHROMIUM, open_chromium
from tests.listening.designs import made_design

By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
Wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

ANSWERS = "return session.answers.all()"
OPEN = "return document.querySelector('fieldset:disabled') === null"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages from a disk by method, clips of 0.5 s."""
    made = {}
    for method in ("acr", "slider", "pairs"):
        folder = tmp_path_factory.mktemp(method)
        design = made_design(folder, method, n_clips=4, seconds=0.5)
        made[method] = build_page(design, folder / "test")
    return made


class Rater:
    """One person before the page."""

    def __init__(self, driver, page, name):
        self.driver, self.address = driver, (page / "index.html").as_uri() + f"#rater={name}"
        driver.get("about:blank")
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(self.address)

    def one(self, selector):
        return next(
            found for found in self.driver.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()
        )

    def says(self, text):
        Wait(self.driver, 90, 0.05).until(lambda _: text in self.one("main h1").text)

    def press(self, label):
        found = self.driver.find_elements(By.CSS_SELECTOR, "button")
        next(one for one in found if one.is_displayed() and one.text == label).click()

    def type(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def begin(self):
        """Come to the first trial that counts, past the practice."""
        self.one("#agree").click()
        self.press("Continue")
        self.press("Continue")
        self.run("session.answers.setFlag('practised'); goOn()")
        self.press("Start")

    def hear(self):
        for player in self.driver.find_elements(By.CSS_SELECTOR, ".play"):
            player.click()
            ended = "return [...document.querySelectorAll('audio')].every((one) => one.paused)"
            Wait(self.driver, 90, 0.05).until(lambda _, ended=ended: self.run(ended))
        Wait(self.driver, 90, 0.05).until(lambda _: self.run(OPEN))


@pytest.fixture
def rater(browser, pages):
    """A new rater; after the test, hold the browser's log to be empty and nothing to have been fetched but from the disk."""
    made = []

    def enter(method="acr", name="R01"):
        made.append(Rater(browser, pages[method], name))
        made[-1].run("localStorage.clear(); location.reload()")
        return made[-1]

    yield enter
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    sent = [one["message"] for one in browser.get_log("performance") if "requestWillBeSent" in one["message"]]
    assert not [message for message in sent if '"url":"http' in message]


def test_from_consent_to_thanks_by_mouse(rater):
    one = rater()
    one.says("Before you begin")
    assert not one.one(".main-button").is_enabled()
    one.one("#agree").click()
    one.press("Continue")
    assert "Read the text first" in one.one("main").text and "two kinds" not in one.one("main").text
    one.press("Continue")
    assert one.one(".step").text == "Practice, not counted"
    for part, trials in ((None, 1), (1, 3), (2, 2)):
        if part:
            one.says(f"Part {part} of 2")
            one.press("Start")
        for _ in range(trials):
            one.hear()
            for name in ("impression", "alignment"):
                one.one(f"label:has(input[name={name}][value='4'])").click()
            one.press("Next")
    one.says("Thank you")
    answers = one.run(ANSWERS)
    assert [(answer["batch"], answer["position"]) for answer in answers] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 1),
        (2, 2),
    ]
    assert [answer["order"] for answer in answers] == [1, 2, 3, 4, 5]
    assert all(answer["scores"] == {"impression": 4, "alignment": 4} for answer in answers)
    assert all(answer["heard"] > 0.9 and answer["seconds"] >= 0.4 for answer in answers)


def test_by_keyboard_alone(rater):
    one = rater()
    one.begin()
    one.type("3")
    assert one.run("return session.view.scales[0].value()") is None
    one.type(Keys.SPACE)
    Wait(one.driver, 90, 0.05).until(lambda _: one.run(OPEN))
    one.type("4")
    one.type("2")
    assert one.run("return session.view.scales.map((scale) => scale.value())") == [4, 2]
    one.type("3")
    one.type(Keys.SPACE)
    assert not one.run("return session.view.players[0].audio.paused")
    one.type(Keys.ENTER)
    assert [answer["scores"] for answer in one.run(ANSWERS)] == [{"impression": 4, "alignment": 3}]


def test_seeking_is_not_hearing(rater):
    one = rater()
    one.begin()
    one.run("session.view.players[0].audio.currentTime = 0.48")
    one.one(".play").click()
    Wait(one.driver, 90, 0.05).until(lambda _: one.run("return session.view.players[0].audio.ended"))
    assert one.run("return session.view.players[0].heard()") < 0.2
    assert not one.run(OPEN) and not one.one(".main-button").is_enabled()
    one.one(".replay").click()
    Wait(one.driver, 90, 0.05).until(lambda _: one.run(OPEN))


def test_pause_reload_and_download(rater, tmp_path):
    one = rater()
    one.begin()
    one.run("keep(session.view.place, {scores: {impression: 1, alignment: 2}, seconds: 1, heard: 1})")
    one.press("Pause")
    one.says("Paused")
    one.driver.refresh()
    one.says("Part 1 of 2")
    assert one.one("#progress-text").text == "1 of 5 answered"
    setting = {"behavior": "allow", "downloadPath": str(tmp_path)}
    one.driver.execute_cdp_cmd("Browser.setDownloadBehavior", setting)
    one.press("Download my answers")
    Wait(one.driver, 90, 0.05).until(lambda _: list(tmp_path.glob("answers-*.json")))
    (file,) = tmp_path.glob("answers-*.json")
    content = json.loads(file.read_text())
    assert (content["format"], content["version"]) == ("musiceval-answers", 1)
    assert content["answers"] == one.run(ANSWERS) and len(content["answers"]) == 1


def test_the_server_refuses_one_answer_and_takes_the_others(rater):
    one = rater()
    one.run(REFUSING)
    one.begin()
    one.run(ALL_BUT_SENT)
    one.says("Thank you")
    Wait(one.driver, 90, 0.05).until(lambda _: one.run("return session.answers.unsent().length") == 0)
    assert [answer["order"] for answer in one.run("return session.answers.refused()")] == [2]
    assert one.run("return window.requests") == [5, 1, 1, 1, 1, 1]
    assert "download your answers" in one.one("main").text and "arrived" not in one.one("main").text
    assert "second" not in one.one("main button").get_attribute("class")
    assert "The server refused 1" in one.one("#status").text


# A server that stores all answers that are sent together, or none of them.
REFUSING = """
window.requests = [];
window.fetch = async (path, {body}) => {
  const sent = JSON.parse(body);
  window.requests.push(sent.length);
  const stored = sent.map(({batch, position}) => [batch, position]);
  const status = sent.some(({order}) => order === 2) ? 422 : 200;
  return new Response(JSON.stringify({stored, conflicts: []}), {status});
};
"""
ALL_BUT_SENT = """
for (let place = firstOpen(); place; place = firstOpen()) keep(place, {scores: {impression: 1, alignment: 2}, seconds: 1, heard: 1});
session.send = openSender(session.answers, 'token', sent);
session.send();
"""


def test_two_tabs_and_double_clicks_give_one_answer(rater):
    one = rater()
    one.begin()
    first = one.driver.current_window_handle
    one.driver.switch_to.new_window("tab")
    one.driver.get(one.address)
    one.press("Start")
    keep = (
        "keep(session.view.place, {scores: {impression: arguments[0], alignment: 1}, seconds: 1, heard: 1})"
    )
    one.run(keep, 2)
    one.driver.close()
    one.driver.switch_to.window(first)
    Wait(one.driver, 90, 0.05).until(lambda _: one.run("return session.view.place.position") == 2)
    again = "const {place} = session.view; for (const score of [5, 1]) " + keep.replace(
        "session.view.place", "place"
    )
    one.run(again.replace("arguments[0]", "score"))
    assert [answer["scores"]["impression"] for answer in one.run(ANSWERS)] == [2, 5]


def test_pairs_ask_for_a_preference_once_both_were_heard(rater):
    one = rater("pairs")
    one.begin()
    assert "better" in one.one(".scales").text
    one.type("a")
    Wait(one.driver, 90, 0.05).until(lambda _: one.run("return session.view.players[0].audio.ended"))
    assert not one.run(OPEN)
    one.type(Keys.SPACE)
    Wait(one.driver, 90, 0.05).until(lambda _: one.run(OPEN))
    one.type("4")
    one.type(Keys.ENTER)
    assert [answer["scores"] for answer in one.run(ANSWERS)] == [{"preference": "both_bad"}]


def test_sliders_count_once_they_were_touched(rater):
    one = rater("slider")
    one.begin()
    one.hear()
    sliders = one.driver.find_elements(By.CSS_SELECTOR, ".slider input")
    sliders[0].click()
    sliders[1].send_keys(Keys.ARROW_RIGHT)
    one.press("Next")
    (answer,) = one.run(ANSWERS)
    assert abs(answer["scores"]["impression"] - 50) <= 1 and answer["scores"]["alignment"] == 51


def test_who_has_no_code_is_asked_for_it(rater):
    one = rater(name="nobody")
    one.says("Who is listening?")
    assert "No rater has the code nobody" in one.one("main").text
    one.one("#rater").send_keys("R02", Keys.ENTER)
    one.says("Before you begin")


@pytest.mark.parametrize("method", ["acr", "slider", "pairs"])
def test_a_phone_never_scrolls_sideways_and_all_has_a_name(rater, method):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    one = rater(method)
    try:
        one.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        one.begin()
        assert one.run("return document.documentElement.scrollWidth") <= 390
        for control in one.driver.find_elements(By.CSS_SELECTOR, "main button, main input"):
            is_shown = one.run("return arguments[0].offsetHeight > 0", control)
            assert control.accessible_name or not is_shown, control.get_attribute("outerHTML")
        small = "return [...document.querySelectorAll('main button, main label')].map((one) => one.offsetHeight).filter((height) => 0 < height && height < 44)"
        assert one.run(small) == []
    finally:
        one.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_colours_have_contrast_in_light_and_dark(rater):
    one = rater()
    one.begin()
    one.hear()
    one.type("4")
    try:
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            one.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            for selector in (
                ".step",
                ".prompt",
                ".hint",
                "legend",
                ".word",
                ":checked ~ .word",
                "#title",
                "#progress-text",
            ):
                assert one.run(CONTRAST, selector) >= 4.5, (scheme, selector)
    finally:
        one.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# WCAG 2: relative luminance of a text and of the nearest ground below it.
CONTRAST = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = numbers(colour).map((c) => (c /= 255, c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4));
  return .2126 * r + .7152 * g + .0722 * b;
};
const text = document.querySelector(arguments[0]);
let ground = text;
while ((numbers(getComputedStyle(ground).backgroundColor)[3] ?? 1) === 0) ground = ground.parentElement;
const [a, b] = [light(getComputedStyle(text).color), light(getComputedStyle(ground).backgroundColor)].sort((x, y) => y - x);
return (a + .05) / (b + .05);
"""
