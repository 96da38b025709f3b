"""A whole listening test by ten simulated raters, in a real browser on the real server, which is killed in between."""

import csv
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

from musiceval_sk.cli.app import app
from musiceval_sk.listening import build_page, design_test, load_test
from tests.browsers import NEEDS_CHROMIUM, RATER, open_chromium

Wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
pytest.importorskip("uvicorn", reason="the server comes with the extra 'listen'")
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

SYSTEMS, PROMPTS = 6, 10
CARELESS, ALWAYS_THE_SAME = "R09", "R10"
LISTENING = (
    "R01",
    "R02",
)  # they play every clip and press every button; the others use the page's own functions
BEFORE_THE_BREAK, GO_ON = 12, "window.most = 1000"
SCALES = ("impression", "alignment")


@pytest.fixture(scope="module")
def test_folder(tmp_path_factory):
    """60 tones of 0.3 s, six more as real music, in a design for ten raters, five a clip, and its page."""
    folder = tmp_path_factory.mktemp("proof")
    times = np.arange(2400) / 8000
    for name in [*range(SYSTEMS * PROMPTS), *(f"real{i}" for i in range(6))]:
        soundfile.write(folder / f"{name}.wav", np.sin(2 * np.pi * 440 * times) / 4, 8000)
    clips = pd.DataFrame({"system": np.repeat([f"S{i}" for i in range(SYSTEMS)], PROMPTS)})
    clips["prompt"] = [f"prompt {i}" for i in range(PROMPTS)] * SYSTEMS
    clips["path"] = [str(folder / f"{i}.wav") for i in clips.index]
    clips.index = [f"C{i:02d}" for i in clips.index]
    real = pd.DataFrame(
        {"path": [str(folder / f"real{i}.wav") for i in range(6)], "prompt": "", "system": "real"}
    )
    real.index = [f"real{i}" for i in real.index]
    practice = real.iloc[:1].set_axis(["practice"])
    demands = {"n_raters": 10, "per_clip": 5, "batch_size": 18, "n_batches": 2, "n_probes": 3}
    design = design_test(clips, **demands, probes=real, n_duplicates=1, training=practice)
    design.save(folder / "design.json")
    build_page(design, folder / "test")
    return folder


def opinion(rater, clip, scale, time):
    """Say what a rater gives: the clip's quality and the rater's bias; by chance, or always the same."""
    if rater == ALWAYS_THE_SAME:
        return 2
    chance = zlib.crc32(f"{rater} {clip} {scale} {time}".encode())
    if rater == CARELESS:
        return 1 + chance % 5
    bias = (-1, 0, 0, 1)[int(rater[1:]) % 4]
    quality = 4 if clip.startswith("real") else 2 + int(clip[1:]) // PROMPTS % 3
    return int(np.clip(quality + bias, 3 if clip.startswith("real") else 1, 5))


def opinions_of(design, rater):
    """What a rater is going to answer at each place, in the names of the page."""
    return {
        f"{batch}:{position}": {scale: opinion(rater, trial["clip_id"], scale, position) for scale in SCALES}
        for who, batch, position, trial in design.trials()
        if who == rater
    }


class Server:
    """`musiceval listen serve` as a process, which can be killed and started again."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = "from musiceval_sk.cli.app import main; main()"
        arguments = ["listen", "serve", "test", "--answers", "a.sqlite", "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url, timeout=30)
                return
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.1)
        raise TimeoutError("the server does not answer")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def links(self):
        with (self.folder / "a.links.csv").open() as file:
            return {row["rater"]: row["link"] for row in csv.DictReader(file)}

    def answers(self):
        with sqlite3.connect(self.folder / "a.sqlite") as connection:
            return [json.loads(text) for (text,) in connection.execute("SELECT answer FROM answers")]


def take_part(driver, link, opinions, is_listening):
    driver.switch_to.new_window("tab")
    driver.get(link)
    driver.execute_script(RATER, opinions, is_listening, BEFORE_THE_BREAK)
    # Chromium loads no sound in a hidden tab that has never played one.
    Wait(driver, 60, 0.02).until(lambda _: driver.execute_script("return session.answers?.all().length > 0"))
    return driver.current_window_handle


@pytest.fixture(scope="module")
def held(test_folder, tmp_path_factory):
    """Hold the test: all raters at once, the server killed with SIGKILL amid, two tabs reloaded after that."""
    design, server = load_test(test_folder / "design.json"), Server(test_folder)
    driver = open_chromium(tmp_path_factory.mktemp("profile"))
    try:
        links = server.links()
        tabs = {
            rater: take_part(driver, links[rater], opinions_of(design, rater), rater in LISTENING)
            for rater in design.raters
        }
        Wait(driver, 600, 0.2).until(lambda _: len(server.answers()) == BEFORE_THE_BREAK * len(tabs))
        others = [tab for rater, tab in tabs.items() if rater not in LISTENING]
        for tab in others[:-1]:
            in_tab(driver, tab, GO_ON)
        server.kill()
        in_tab(driver, others[-1], GO_ON)
        Wait(driver, 240, 0.1).until(
            lambda _: in_tab(driver, others[-1], "return session.answers.unsent().length > 5")
        )
        server.start()
        for rater in LISTENING:
            driver.switch_to.window(tabs[rater])
            driver.refresh()
            driver.execute_script(RATER, opinions_of(design, rater), True, 1000)
        done = "return session.view?.isDone === true && session.answers.unsent().length === 0"
        for tab in tabs.values():
            Wait(driver, 600, 0.2).until(lambda _, tab=tab: in_tab(driver, tab, done))
        yield design, server, driver
    finally:
        driver.quit()
        server.kill()


def in_tab(driver, tab, script):
    driver.switch_to.window(tab)
    return driver.execute_script(script)


def test_no_answer_is_lost_doubled_or_changed(held):
    design, server, _ = held
    expected = {
        (rater, int(batch), int(position)): scores
        for rater in design.raters
        for place, scores in opinions_of(design, rater).items()
        for batch, position in [place.split(":")]
    }
    answers = server.answers()
    given = {(one["rater"], one["batch"], one["position"]): one["scores"] for one in answers}
    assert len(answers) == len(given) == len(expected) == sum(1 for _ in design.trials())
    assert given == expected
    assert all(answer["heard"] >= 0.89 for answer in answers)
    for rater in design.raters:
        orders = [one["order"] for one in answers if one["rater"] == rater]
        assert sorted(orders) == list(range(1, len(orders) + 1))


def test_the_export_gives_both_bad_raters_and_the_others_means(held, tmp_path):
    design, server, _ = held
    run = CliRunner().invoke
    exported = run(
        app,
        [
            "listen",
            "export",
            str(server.folder / "a.sqlite"),
            "--design",
            str(server.folder / "design.json"),
            "--out",
            str(tmp_path / "ratings.csv"),
        ],
    )
    assert exported.exit_code == 0, exported.output
    screened = run(
        app,
        [
            "ratings",
            str(tmp_path / "ratings.csv"),
            "--design",
            str(server.folder / "design.json"),
            "--out",
            str(tmp_path / "mos"),
        ],
    )
    assert screened.exit_code == 0, screened.output
    left_out = pd.read_csv(tmp_path / "mos" / "left-out.csv")
    assert set(zip(left_out["rater"], left_out["batch"], strict=True)) == {
        (rater, batch) for rater in (CARELESS, ALWAYS_THE_SAME) for batch in (1, 2)
    }
    given = pd.DataFrame(
        [
            (trial["clip_id"], *(opinion(rater, trial["clip_id"], scale, position) for scale in SCALES))
            for rater, _, position, trial in design.trials()
            if rater not in (CARELESS, ALWAYS_THE_SAME) and "repeat" not in trial
        ],
        columns=["clip_id", *SCALES],
    )
    expected = given.groupby("clip_id").mean()
    scores = pd.read_csv(tmp_path / "mos" / "mos.csv", index_col="clip_id")
    tested = [clip for clip in expected.index if clip.startswith("C")]
    pd.testing.assert_frame_equal(
        scores.loc[tested, list(SCALES)], expected.loc[tested], check_exact=False, rtol=1e-12
    )
    assert len(tested) == SYSTEMS * PROMPTS


def test_the_overview_says_so_and_no_page_broke_its_rules(held):
    design, server, driver = held
    driver.switch_to.new_window("tab")
    driver.get(server.links()["(overview)"])
    facts = "return [...document.querySelectorAll('#facts dd')].map((one) => one.textContent)"
    Wait(driver, 240, 0.2).until(lambda _: driver.execute_script(facts))
    trials = sum(1 for _ in design.trials())
    assert driver.execute_script(facts)[:2] == [f"{trials} of {trials}", "10 of 10"]
    assert len(driver.find_elements("css selector", "#raters tr")) == 10
    # What the killed server could not give is all that the log may hold.
    messages = [entry["message"] for entry in driver.get_log("browser")]
    assert not [message for message in messages if "ERR_" not in message]
