"""What others have published on MusicEval, each figure with its source, to stand beside one's own."""

from importlib.resources import files

import pandas as pd


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
    with (files(__package__) / "published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table if target is None else table[table["target"] == target].reset_index(drop=True)
