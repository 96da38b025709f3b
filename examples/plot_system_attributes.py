"""What the systems are like (Figure 4 of the MusicEval paper): bars of the number of systems by attribute.

Runs as it stands: python examples/plot_system_attributes.py [FIGURE.png]. The attributes are those that the paper counts
(25 systems accessible and 6 not; 10 of 2022, 14 of 2023, 7 of 2024); which system is which it does not say.
"""

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def draw(systems: pd.DataFrame, figure: plt.Figure) -> None:
    """Draw one row of bars an attribute, from one baseline, what is not known last."""
    for ax, attribute in zip(figure.subplots(len(systems.columns), sharex=True), systems, strict=True):
        counts = systems[attribute].fillna("not known").astype(str).value_counts(sort=False)
        ax.bar_label(ax.barh(counts.index, counts), padding=3)
        ax.margins(x=0.12)
        ax.set_title(attribute, loc="left", fontsize=10)
        ax.invert_yaxis()
    ax.set_xlabel(f"number of systems, of {len(systems)}")


def main(path: str) -> None:
    systems = pd.DataFrame(
        {
            "access": ["accessible"] * 25 + ["not accessible"] * 6,
            "year": [2022] * 10 + [2023] * 14 + [2024] * 7,
        }
    )
    figure = plt.figure(figsize=(5, 3), layout="constrained")
    draw(systems, figure)
    figure.savefig(path, dpi=100)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "system-attributes.png")
