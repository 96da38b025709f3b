"""Commands draw and halve little here: what they say and write is tested, and the figures where they are computed."""

import pytest

from musiceval_sk import human_ceiling, run_study


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    for function, option, few in (
        (human_ceiling, "n_bootstrap", 100),
        (human_ceiling, "n_splits", 20),
        (run_study, "n_resamples", 100),
    ):
        monkeypatch.setitem(function.__kwdefaults__, option, few)
