"""How long reading and checking a MusicEval of true size takes: 2,748 clips, 13,740 ratings, made, with short sounds.

Headers of sounds are opened, nothing is decoded, so that the length of the sounds does not matter.
"""

import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import soundfile

from musiceval_sk import load_musiceval
from musiceval_sk.datasets.musiceval.layout import check_musiceval

STEM = "audiomos2025-track1-"
DEMO = {"S001": 100, "S006": 10, "S013": 60, "S017": 40, "S018": 10, "S033": 28}
LISTS = {"train": 1923, "dev": 412, "test": 413}


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def make(root):
    rng = np.random.default_rng(0)
    named = [f"S{i:03d}" for i in range(1, 34) if f"S{i:03d}" not in DEMO and i not in (5, 25)]
    clips = [(system, i) for system in named for i in range(1, 101)]
    clips += [(system, i) for system, count in DEMO.items() for i in range(1, count + 1)]
    files = [f"{STEM}{system}_P{i:03d}.wav" for system, i in clips]
    ratings = rng.integers(1, 6, (len(clips), 5, 2))
    means = ratings.mean(axis=1)
    rows = [f"{file},{a:.1f},{b:.1f}" for file, (a, b) in zip(files, means, strict=True)]
    order = rng.permutation(len(rows))
    bounds = np.cumsum([0, *LISTS.values()])
    for name, low, high in zip(LISTS, bounds[:-1], bounds[1:], strict=True):
        write(root / "sets" / f"{name}_mos_list.txt", [rows[i] for i in order[low:high]])
    write(root / "sets" / "total_mos_list.txt", rows)
    pairs = ((file, panel) for file, panel in zip(files, ratings, strict=True))
    lines = (f"{file},R{k},{a},{b}" for file, panel in pairs for k, (a, b) in enumerate(panel))
    write(root / "person_mos" / "total_person_mos.txt", lines)
    systems = pd.DataFrame(means, index=[system for system, _ in clips]).groupby(level=0).mean()
    table = (
        f"{system},{a:.4f},{b:.4f}" for system, (a, b) in zip(systems.index, systems.to_numpy(), strict=True)
    )
    write(root / "system_mos" / "system_mos_full.csv", table)
    write(root / "prompt_info.txt", ["id\ttext", *(f"P{i:03d}\tprompt {i}" for i in range(1, 101))])
    demo = (
        f"{file}\town prompt of {file}"
        for file, (system, _) in zip(files, clips, strict=True)
        if system in DEMO
    )
    write(root / "demo_prompt_info.txt", ["id\ttext", *demo])
    (root / "wav").mkdir()
    soundfile.write(root / "one.wav", np.zeros(1600), 16000)
    for file in files:
        shutil.copyfile(root / "one.wav", root / "wav" / file)


def seconds(function):
    started = time.perf_counter()
    found = function()
    return time.perf_counter() - started, found


def main():
    with TemporaryDirectory() as folder:
        root = Path(folder) / "MusicEval-full"
        make(root)
        load_musiceval(root, check=False)
        bare, clips = seconds(lambda: load_musiceval(root, check=False))
        checked, table = seconds(lambda: check_musiceval(root))
        print(f"{len(clips)} clips read in {bare:.2f} s without checks")
        print(
            f"{len(table)} checks in {checked:.2f} s, reading included; {table['differs'].sum()} differences"
        )


if __name__ == "__main__":
    main()
