"""Building the CLAP encoders from a checkpoint against `laion_clap.CLAP_Module` plus `load_ckpt` on the same file.

    python examples/benchmarks/bench_build.py

Each runs in a process of its own, heavy imports done beforehand, on a checkpoint of random weights in the official size
(HTSAT-base, 12 layers of text, 50,265 tokens). laion_clap's downloads are replaced by local files and random weights.

Measured on 2 shared CPU cores, best of 3, a checkpoint of 764 MiB: laion_clap 6.56 s and a peak of 1,614 MiB above the process
before; laion-clap 0.17 s (0.03 of it) and 24 MiB (0.03 of the checkpoint); hf-clap 0.21 s (0.03) and 11 MiB. Weights stay
memory-mapped, so their pages come in with the first forward pass.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

OURS = """
import sys, time
import torch
from transformers import ClapModel, RobertaModel
from musiceval_sk import get_encoder
from musiceval_sk.features.encoders.clap.laion_clap import import_htsat
import_htsat()
status = lambda name: int(next(l.split()[1] for l in open("/proc/self/status") if l.startswith(name)))
encoder = get_encoder(sys.argv[3], checkpoint=sys.argv[1], device="cpu")
encoder.fingerprint_of("audio")
before, started = status("VmRSS"), time.perf_counter()
encoder.build()
print(time.perf_counter() - started, (status("VmHWM") - before) / 1024)
"""
THEIRS = """
import sys, time, contextlib, io
import librosa.filters, librosa.util
sys.path.insert(0, sys.argv[4])
from tests.clap_files import laion_clap_itself
status = lambda name: int(next(l.split()[1] for l in open("/proc/self/status") if l.startswith(name)))
with laion_clap_itself(sys.argv[2], text_layers=12, vocab_size=50265) as laion_clap, contextlib.redirect_stdout(io.StringIO()):
    before, started = status("VmRSS"), time.perf_counter()
    laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device="cpu").load_ckpt(sys.argv[1], verbose=False)
    seconds = time.perf_counter() - started
print(seconds, (status("VmHWM") - before) / 1024)
"""


def measure(code, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return [
        float(cell)
        for cell in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    ]


def main(repeats=3):
    from tests.clap_files import write_clap_checkpoint, write_roberta_tokenizer

    with tempfile.TemporaryDirectory() as made:
        tokenizer = write_roberta_tokenizer(Path(made) / "roberta-base")
        checkpoint = write_clap_checkpoint(
            Path(made) / "random.pt", amodel="HTSAT-base", text_layers=12, vocab_size=50265
        )
        size = Path(checkpoint).stat().st_size / 2**20
        print(f"checkpoint of {size:.0f} MiB; best of {repeats}")
        theirs = min(measure(THEIRS, checkpoint, tokenizer, "", ROOT) for _ in range(repeats))
        print(f"  laion_clap {theirs[0]:7.2f} s, peak {theirs[1]:6.0f} MiB above the process before")
        for name in ("laion-clap", "hf-clap"):
            ours = min(measure(OURS, checkpoint, tokenizer, name) for _ in range(repeats))
            print(
                f"  {name:10s} {ours[0]:7.2f} s, peak {ours[1]:6.0f} MiB; time ratio {ours[0] / theirs[0]:.2f}, "
                f"memory {ours[1] / size:.2f} x the checkpoint"
            )


if __name__ == "__main__":
    main()
