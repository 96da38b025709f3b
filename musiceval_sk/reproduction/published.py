"""What others have published on MusicEval, each figure with its source, to stand beside one's own."""

import pandas as pd

from musiceval_sk.statistics.metrics import METRICS


def _all_eight(*values: float) -> dict[str, float]:
    return dict(zip(METRICS, values, strict=True))


# Who, and on which clips: how training and test were split, as far as it is known; where the figures stand; the figures.
PUBLISHED: dict[str, tuple[str, str, dict[str, dict[str, float]]]] = {
    "paper, Table I": (
        "random 85/15, seed not published",
        "C. Liu et al., MusicEval, ICASSP 2025, Table I: CLAP fine-tuned end to end",
        {
            "impression": _all_eight(0.647, 0.606, 0.633, 0.461, 0.446, 0.839, 0.926, 0.767),
            "alignment": _all_eight(0.616, 0.438, 0.443, 0.314, 0.354, 0.757, 0.784, 0.617),
        },
    ),
    "released README, dev": (
        "official train and dev lists; dev also stopped the training",
        "README of NKU-HLT/MusicEval-baseline, the output it shows as an example: CLAP fine-tuned end to end (read in a "
        "copy of that README)",
        {
            "impression": _all_eight(
                *(0.407076, 0.752050, 0.760752, 0.570974, 0.186899, 0.878047, 0.882266, 0.704433)
            ),
            "alignment": _all_eight(
                *(0.507618, 0.593813, 0.581332, 0.422476, 0.143016, 0.783773, 0.795567, 0.596059)
            ),
        },
    ),
    "challenge baseline, dev": (
        "official train and dev lists",
        "AudioMOS Challenge 2025, track 1, baseline on the development list",
        {"impression": {"S_SRCC": 0.776}, "alignment": {"S_SRCC": 0.720}},
    ),
    "challenge baseline, test": (
        "official lists",
        "derived, hence approximate: F. Ritter-Gutierrez et al., arXiv:2507.09904, state .991 and .952 as 21.21 % and "
        "31.47 % above the challenge baseline",
        {"impression": {"S_SRCC": 0.818}, "alignment": {"S_SRCC": 0.724}},
    ),
    "ASTAR-NTU, test": (
        "official lists",
        "F. Ritter-Gutierrez et al., arXiv:2507.09904: frozen MuQ and RoBERTa, the challenge's winner",
        {"impression": {"S_SRCC": 0.991}, "alignment": {"S_SRCC": 0.952}},
    ),
    "MuQ-Eval": (
        "as its authors report",
        "MuQ-Eval, arXiv:2603.22677: frozen MuQ with attention pooling",
        {"impression": {"S_SRCC": 0.957, "U_SRCC": 0.838}},
    ),
}


def published_results(target: str | None = None) -> pd.DataFrame:
    """List published figures.

    They rest on different splits and on two kinds of system truth, so they are no ranking.

    Parameters
    ----------
    target : {"impression", "alignment"}, default=None
        Only this target.

    Returns
    -------
    pandas.DataFrame
        One row a figure: ``name``, ``target``, ``metric``, ``value``, ``split``, ``source``.

    Examples
    --------
    >>> table = published_results("impression")
    >>> table.query("name == 'paper, Table I' and metric == 'S_SRCC'")["value"].item()
    0.926
    """
    rows = [
        (name, named, metric, value, split, source)
        for name, (split, source, targets) in PUBLISHED.items()
        for named, scores in targets.items()
        for metric, value in scores.items()
        if target in (None, named)
    ]
    return pd.DataFrame(rows, columns=["name", "target", "metric", "value", "split", "source"])
