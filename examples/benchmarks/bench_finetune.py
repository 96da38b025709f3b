"""Steps of `CLAPFineTuneRegressor` at HTSAT-base and 12 layers of RoBERTa: clips a second and peak memory of each mode.

    python examples/benchmarks/bench_finetune.py [--checkpoint clap.pt] [--device cuda] [--clips 64] [--steps 3] [--batch 64]
        [--modes lora,last_blocks,full] [--seconds 10] [--micro-batch-size CLIPS]

Each mode trains in a process of its own, on clips of one window by default. Without a checkpoint one of random weights and true
architecture is made. Clips per second are of steps alone: decoding, the first embedding and judging are not in them, nor is
the first step. Peak memory is torch's own count on a GPU, and on a CPU the process's, weights included.

Measured on a CPU only, one thread beside other work, --clips 8, random weights, clips a second of processor time: lora 0.76 (peak
3,410 MiB), last_blocks 1.26 (2,490 MiB), full 0.43 (5,731 MiB; 4,266 MiB with --micro-batch-size 1). On two idle cores full
takes 0.84 and 0.88 clips a second of the clock (two runs). No figure for a GPU yet: run it there with --device cuda --clips 512
--steps 8.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

MODES = ("lora", "last_blocks", "full")


def one_mode(given):
    """Train in one mode; print clips a second and peak memory as JSON."""
    import pandas as pd
    import torch

    from musiceval_sk import CLAPFineTuneRegressor, get_encoder
    from musiceval_sk.finetuning.loop import Training

    marks, batches = [], []
    made = Training._step

    def timed(self, rows, micro_batch_size):
        losses = made(self, rows, micro_batch_size)
        if self.source.device.type == "cuda":
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
        batches.append(len(rows))
        return losses

    Training._step = timed
    clips = pd.read_json(given["clips"])
    y = pd.DataFrame(
        np.random.default_rng(0).uniform(1, 5, (len(clips), 2)), columns=["impression", "alignment"]
    )
    encoder = get_encoder("hf-clap", checkpoint=given["checkpoint"], device=given["device"])
    epochs = -(-(given["steps"] + 1) * given["batch"] // len(clips))
    regressor = CLAPFineTuneRegressor(
        encoder,
        train=given["mode"],
        batch_size=given["batch"],
        max_iter=epochs,
        early_stopping=False,
        sounds_dir=given["sounds"],
        micro_batch_size=given["micro_batch_size"],
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regressor.fit(clips, y)
    speed = sum(batches[1:]) / (marks[-1] - marks[0])
    if given["device"].startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    else:
        status = Path("/proc/self/status").read_text().splitlines()
        peak = 1024 * int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    trained = sum(array.size for array in regressor.tuned_parameters_.values())
    print(json.dumps({"speed": speed, "peak": peak, "trained": trained, "steps": len(marks) - 1}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--micro-batch-size", type=int)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one_mode(json.loads(options.one))
        return
    from musiceval_sk import make_listening_test
    from tests.clap_files import write_clap_checkpoint, write_roberta_tokenizer

    with tempfile.TemporaryDirectory() as made:
        folder, checkpoint = Path(made), options.checkpoint
        if checkpoint is None:
            checkpoint = write_clap_checkpoint(
                folder / "clap.pt", "HTSAT-base", text_layers=12, vocab_size=50_265
            )
            write_roberta_tokenizer(folder / "roberta-base")
        test = make_listening_test(
            folder / "clips",
            n_systems=2,
            n_prompts=-(-options.clips // 2),
            n_raters=5,
            seconds=options.seconds,
            sample_rate=48_000,
        )
        test.clips[: options.clips].to_json(folder / "clips.json")
        given = {
            "clips": str(folder / "clips.json"),
            "sounds": str(folder / "sounds"),
            "checkpoint": str(checkpoint),
            "device": options.device,
            "steps": options.steps,
            "batch": options.batch,
            "micro_batch_size": options.micro_batch_size,
        }
        print(f"{'mode':<12} {'trained weights':>16} {'steps':>6} {'clips/s':>9} {'peak MiB':>9}")
        for mode in options.modes.split(","):
            command = [sys.executable, __file__, "--one", json.dumps({**given, "mode": mode})]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found = json.loads(output.strip().split("\n")[-1])
            print(
                f"{mode:<12} {found['trained']:>16,} {found['steps']:>6} {found['speed']:>9.3g} "
                f"{found['peak'] / 2**20:>9,.0f}"
            )


if __name__ == "__main__":
    main()
