import functools
import gc
import os
from importlib.util import find_spec

# Test workers share the cores already; small matrices are slower with threads that wait for one another. Set before
# torch and BLAS are loaded, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pytest  # noqa: E402
import soundfile  # noqa: E402
import typer.main  # noqa: E402
import typer.testing  # noqa: E402

# Files that need torch as a whole; single tests elsewhere ask for the fixture `torch`.
_NEED_TORCH = [
    "clap_files.py",
    "cli/test_demo.py",
    "cli/test_predict.py",
    "estimators/engine/*.py",
    "estimators/fused.py",
    "estimators/test_persistence_tensors.py",
    "estimators/test_regressor*.py",
    "estimators/test_search*.py",
    "estimators/test_sklearn_checks.py",
    "features/encoders/clap/*.py",
    "finetuning/*.py",
    "reproduction/*.py",
    "test_docs_predict.py",
    "test_docs_reproduce.py",
]
collect_ignore_glob = [] if find_spec("torch") else _NEED_TORCH


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items):
    """Let tests that share a module's fixture run on one worker, so that it is made once."""
    for item in items:
        made = getattr(item, "_fixtureinfo", None)
        known = made.name2fixturedefs.values() if made else []
        if any(fixture.scope == "module" for found in known for fixture in found):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_collection_finish():
    """Look for garbage seldom: each time everything that was imported and collected is gone through."""
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def in_no_time():
    """No file is to outlive a power cut, and the command line is built once; processes that tests start go their usual way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        patch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def default_store(tmp_path_factory):
    """A store of the tests' own wherever nobody names one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICEVAL_CACHE", str(tmp_path_factory.mktemp("cache") / "embeddings.h5"))
        yield


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed to train with")


@pytest.fixture
def small_examples(monkeypatch):
    """Let pages and examples simulate, train and resample little: that they run is what is tested."""
    import musiceval_sk

    small = functools.partial(musiceval_sk.make_listening_test, n_systems=6, n_prompts=5, seconds=1.0)
    monkeypatch.setattr(musiceval_sk, "make_listening_test", small)
    for function, option, little in (
        (musiceval_sk.MOSRegressor.__init__, "max_iter", 40),
        (musiceval_sk.bootstrap_metrics, "n_resamples", 100),
        (musiceval_sk.human_ceiling, "n_bootstrap", 50),
        (musiceval_sk.human_ceiling, "n_splits", 10),
        (musiceval_sk.run_study, "n_resamples", 50),
        (musiceval_sk.score_learning_curve, "n_resamples", 50),
    ):
        monkeypatch.setitem(function.__kwdefaults__, option, little)


@pytest.fixture
def rng():
    return np.random.default_rng(20250806)


@pytest.fixture
def write_sounds(tmp_path, rng):
    """Make a clips table of float WAV files at 8 kHz, one for each length in seconds."""

    def write(*seconds, folder=tmp_path / "sounds", suffix=".wav"):
        folder.mkdir(exist_ok=True)
        rows = []
        for number, length in enumerate(seconds):
            path = folder / f"clip{number}{suffix}"
            samples = rng.uniform(-0.5, 0.5, round(length * 8000)).astype(np.float32)
            soundfile.write(path, samples, 8000, subtype="FLOAT")
            rows.append((f"clip{number}", str(path), f"prompt {number % 3}", f"S{number % 2}"))
        return pd.DataFrame(rows, columns=["clip_id", "path", "prompt", "system"]).set_index("clip_id")

    return write
