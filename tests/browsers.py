"""A chromium without a window, and a rater who answers by the page's own buttons."""

import shutil

import pytest

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="the browser is driven by selenium, of the extra 'dev'"
)
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NEEDS_CHROMIUM = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium: apt-get install chromium chromium-driver"
)
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    # Tabs behind others are to answer as fast as the one in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)

# Goes through the test as a rater does: agrees, plays (fast), and presses what `window.opinions` has for each trial.
# One who is not `listening` hands answers to the page's own function as soon as a trial is there.
RATER = """
window.opinions = arguments[0];
window.most = arguments[2];  // answers, after which the rater has a break
const isListening = arguments[1];
const find = (selector) => document.querySelector(selector);
const opinion = (place) => (place ? window.opinions[place.batch + ':' + place.position] : {impression: 3, alignment: 3});

function listen() {
  if (find('.failure:not([hidden])')) return find('.failure button').click();
  const {audio} = session.view.players.find((player) => player.heard() < 0.9) ?? {};
  if (!audio?.paused) return null;
  audio.playbackRate = 16;
  return find('.play').click();
}

function press() {
  for (const [name, value] of Object.entries(opinion(session.view.place))) find(`input[name=${name}][value="${value}"]`).click();
  find('main .main-button').click();
}

function goThrough() {
  const {place, press: isTrial, isDone} = session.view ?? {};
  if (isDone) return clearInterval(window.rating);
  if (session.answers?.all().length >= window.most) return null;
  if (place && !isListening) return keep(place, {scores: opinion(place), seconds: 5, heard: 1});
  if (isTrial && find('fieldset:disabled')) return listen();
  if (isTrial) return press();
  find('#agree:not(:checked)')?.click();
  return find('main .main-button:enabled')?.click();
}

window.rating = setInterval(goThrough, isListening ? 20 : 50);
"""


def open_chromium(profile):
    """Start the browser; with the path given, selenium does not look for a driver on the network."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    return driver
