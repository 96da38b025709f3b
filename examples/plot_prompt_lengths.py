"""How long the prompts are (Figure 5 of the MusicEval paper): a violin, and every distinct prompt as a dot.

Runs as it stands, on made-up prompts, or on the prompts of a clips table:
python examples/plot_prompt_lengths.py [FIGURE.png] [clips.csv]
"""

import sys

import matplotlib
import numpy as np

from musiceval_sk import load_clips, make_listening_test

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def draw(prompts, ax: plt.Axes) -> None:
    """Draw the number of words of each distinct prompt."""
    lengths = np.array([len(prompt.split()) for prompt in sorted({*prompts.dropna().str.strip()} - {""})])
    ax.violinplot(lengths, showmedians=True, quantiles=[0.25, 0.75])
    ax.plot(0.7 - 0.02 * (np.arange(len(lengths)) % 5), lengths, ".", alpha=0.6)
    ax.set(xticks=[], ylabel="length of a prompt (words)", title=f"{len(lengths)} distinct prompts")


def main(path: str, table: str | None = None) -> None:
    clips = load_clips(table) if table else make_listening_test("listening-test", random_state=0).clips
    figure, ax = plt.subplots(figsize=(3.5, 4), layout="constrained")
    draw(clips["prompt"], ax)
    figure.savefig(path, dpi=100)
    print(path)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["prompt-lengths.png"]))
