"""`extract` with HTSAT-base against the bare forward pass and against laion_clap's own file-list call.

    python examples/benchmarks/bench_extract.py [--checkpoint clap.pt] [--clips 32] [--device auto]

All three see the same 10 s clips in one run; clips per second and ratios are printed. Without a checkpoint one of random
weights and true architecture is made. A second part measures that memory does not grow with the number of clips.

Measured on 2 idle CPU cores of a shared host, random weights, 32 clips, medians of five passes in turn: bare forward 2.01 clips/s,
extract 1.84 (ratio 0.91), laion_clap's file list 1.14 in one pass (extract is 1.6 times as fast). Single passes scatter: in other runs,
beside other work or with the best of three, the ratio was 0.87 to 1.0. Peak memory with 'spectral' 178 MiB at 200 clips and 183 MiB at
2,000 (1.03; 1.04 to 1.05 in three other pairs). No figure for a GPU yet: run it there with --clips 512.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from musiceval_sk import extract, get_encoder, make_listening_test, read_audio
from tests.clap_files import laion_clap_itself, write_clap_checkpoint, write_roberta_tokenizer

MEMORY = """
import sys
from musiceval_sk import extract, load_clips
clips = load_clips(sys.argv[1])
clips = clips.iloc[: int(sys.argv[2])]
extract(clips, "spectral", sys.argv[3], modality="audio")
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def bare_forward(encoder, windows):
    """The network alone: windows on the device beforehand, vectors left there."""
    import torch

    network = encoder.build()
    device = network.device
    batches = torch.from_numpy(windows).to(device).split(encoder.batch_size)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    started = time.perf_counter()
    with torch.inference_mode(), network.precision():
        for batch in batches:
            features = network.model.audio_model(input_features=network.log_mel(batch)).pooler_output
            network.model.audio_projection(features)
    synchronize()
    return time.perf_counter() - started


def speed(folder, checkpoint, n_clips, device, rounds):
    test = make_listening_test(
        folder / "clips", n_systems=n_clips // 4, n_prompts=4, n_raters=5, seconds=10.0, sample_rate=44100
    )
    clips = test.clips
    encoder = get_encoder("laion-clap", checkpoint=str(checkpoint), device=device)
    samples = [read_audio(path, encoder.sample_rate) for path in clips["path"]]
    windows = np.concatenate([encoder.cut(some) for some in samples])
    encoder.encode_audio(windows[: encoder.batch_size])  # builds the model and warms up
    print(f"batches of {encoder.batch_size} windows on {encoder.build().device}")

    seconds: dict[str, list[float]] = {"bare forward": [], "extract": []}
    for repeat in range(rounds):  # taken in turn, so that a busy neighbour slows both
        seconds["bare forward"].append(bare_forward(encoder, windows))
        started = time.perf_counter()
        extract(clips, encoder, str(folder / f"store{repeat}.h5"), modality="audio")
        seconds["extract"].append(time.perf_counter() - started)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with laion_clap_itself(folder / "roberta-base", text_layers=1) as laion_clap:
            theirs = laion_clap.CLAP_Module(
                enable_fusion=False,
                amodel="HTSAT-base",
                device=str(encoder.build().device),
            )
            theirs.get_audio_embedding_from_filelist(list(clips["path"][:2]))
            started = time.perf_counter()
            theirs.get_audio_embedding_from_filelist(list(clips["path"]))
            seconds["laion_clap file list"] = [time.perf_counter() - started]
    rates = {name: len(clips) / np.median(times) for name, times in seconds.items()}
    for name, rate in rates.items():
        print(
            f"  {name:22s} {rate:7.2f} clips/s (median of {len(seconds[name])}), seconds: {np.round(seconds[name], 1)}"
        )
    print(f"  extract / bare forward          {rates['extract'] / rates['bare forward']:.2f}")
    print(f"  extract / laion_clap file list  {rates['extract'] / rates['laion_clap file list']:.2f}")


def memory(folder, sizes=(200, 2000)):
    test = make_listening_test(
        folder / "many", n_systems=sizes[1] // 50, n_prompts=50, n_raters=5, seconds=1.0, sample_rate=16000
    )
    peaks = []
    for size in sizes:
        store = folder / f"memory{size}.h5"
        command = [sys.executable, "-c", MEMORY, str(test.folder / "clips.csv"), str(size), str(store)]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024)
    print(
        f"peak memory with 'spectral': {peaks[0]:.0f} MiB at {sizes[0]} clips, {peaks[1]:.0f} MiB at {sizes[1]}, "
        f"ratio {peaks[1] / peaks[0]:.3f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        made = Path(made)
        write_roberta_tokenizer(made / "roberta-base")
        checkpoint = arguments.checkpoint or write_clap_checkpoint(
            made / "random.pt", amodel="HTSAT-base", text_layers=1
        )
        print(
            f"{arguments.clips} clips of 10 s, HTSAT-base, {'given checkpoint' if arguments.checkpoint else 'random weights'}"
        )
        speed(made, checkpoint, arguments.clips, arguments.device, arguments.rounds)
        memory(made)
