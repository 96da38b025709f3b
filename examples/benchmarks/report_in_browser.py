"""How heavy a report of 2,748 clips, six predictors and two targets is: size, first paint, sorting, filtering.

    python examples/benchmarks/report_in_browser.py

Scores are made up. Needs the extras report and dev, and Debian's packages chromium and chromium-driver.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from selenium import webdriver
from sklearn.linear_model import Ridge

from musiceval_sk import LookupRegressor, run_study, write_report

N_CLIPS, N_SYSTEMS, N_PROMPTS = 2748, 31, 384
TARGETS = ("impression", "alignment")
REPEATS = 5
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
# From the event until the next frame has been drawn.
TIMED = """
const done = arguments[arguments.length - 1], start = performance.now();
{action};
requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
"""
ACTIONS = {
    "open clips": "location.hash = '#/clips'; dispatchEvent(new HashChangeEvent('hashchange'))",
    "sort": "document.querySelectorAll('#clips-body thead button')[3].click()",
    "filter by system": "const s = document.querySelector('.by-system'); s.value = 'S003'; s.dispatchEvent(new Event('change'))",
    "filter by words": "const i = document.querySelector('.by-words'); i.value = 'piece 1'; i.dispatchEvent(new Event('input'))",
    "next page": "[...document.querySelectorAll('.pager button')].at(-1).click()",
    "open systems": "location.hash = '#/systems'; dispatchEvent(new HashChangeEvent('hashchange'))",
}


def make_study(folder):
    rng = np.random.default_rng(0)
    systems = np.array([f"S{i:03d}" for i in rng.integers(1, N_SYSTEMS + 1, N_CLIPS)])
    ids = [f"audiomos2025-track1-{system}_P{i:04d}" for i, system in enumerate(systems)]
    mood = "a piece of middle tempo for piano and strings, wistful at first and brighter towards its end"
    prompts = [f"piece {i}: {mood}" for i in rng.integers(0, N_PROMPTS, N_CLIPS)]
    paths = [folder / "wav" / f"{name}.wav" for name in ids]
    paths[0].parent.mkdir()
    for path in paths:
        path.touch()
    clips = pd.DataFrame({"path": map(str, paths), "prompt": prompts, "system": systems}, index=ids)
    clips.index.name = "clip_id"
    quality = rng.uniform(1.5, 4.5, N_SYSTEMS + 1)[[int(name[1:]) for name in systems]]
    for target in TARGETS:
        clips[target] = np.clip(np.round((quality + rng.normal(0, 0.6, N_CLIPS)) * 5) / 5, 1, 5)
        clips[f"{target}_se"], clips[f"{target}_count"] = rng.uniform(0.1, 0.5, N_CLIPS), 5
    X = quality[:, np.newaxis] + rng.normal(0, 1, (N_CLIPS, 10))
    models = {f"{label} mean": LookupRegressor(clips[label]) for label in ("system", "prompt")}
    models |= {f"ridge {alpha:g}": Ridge(alpha) for alpha in (0.1, 1, 10, 100)}
    return run_study(clips, X, models, "random", n_resamples=100), clips


def time_in_browser(page):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(switch)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    found = {name: [] for name in ("first paint", *ACTIONS)}
    try:
        for _ in range(REPEATS):
            driver.get("about:blank")
            driver.get(page.as_uri())
            while (paint := driver.execute_script(PAINT)) is None:
                time.sleep(0.05)
            found["first paint"].append(paint)
            for name, action in ACTIONS.items():
                found[name].append(driver.execute_async_script(TIMED.replace("{action}", action)))
    finally:
        driver.quit()
    return found


def main():
    with tempfile.TemporaryDirectory() as folder:
        study, clips = make_study(Path(folder))
        started = time.perf_counter()
        page = write_report(study, Path(folder) / "report.html", clips=clips)
        print(f"{page.stat().st_size / 1e6:.2f} MB, written in {time.perf_counter() - started:.1f} s")
        for name, found in time_in_browser(page).items():
            print(f"{name:18s} median {statistics.median(found):6.0f} ms, most {max(found):6.0f} ms")


if __name__ == "__main__":
    main()
