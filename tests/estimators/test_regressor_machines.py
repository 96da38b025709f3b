"""Predictions are those of other machines: more threads, other vector instructions, none but the oldest."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import numpy as np
from musiceval_sk import MOSRegressor
rng = np.random.default_rng(0)
X = rng.normal(size=(100, 32))
y = 3 + np.tanh(X[:, 0]) + rng.normal(0, 0.2, 100)
one = MOSRegressor(random_state=0, hidden_layer_sizes=(32, 8)).fit(X, y, groups=np.arange(100) // 5)
other = MOSRegressor.from_protocol("paper", random_state=0, hidden_layer_sizes=(32, 8), max_iter=300).fit(X, y)
np.save("predictions.npy", [one.predict(X), other.predict(X)])
"""
OLDEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "OPENBLAS_CORETYPE": "Nehalem",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
}


def predictions(folder, environment):
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, env=os.environ | path | environment, check=True
    )
    return np.load(folder / "predictions.npy")


@pytest.mark.slow
def test_threads_change_nothing_and_instructions_little(tmp_path):
    expected = predictions(tmp_path, {"OMP_NUM_THREADS": "1"})
    np.testing.assert_allclose(predictions(tmp_path, {"OMP_NUM_THREADS": "2"}), expected, rtol=0, atol=1e-12)
    # Of a spread of 0.5: rounding is carried on from step to step.
    np.testing.assert_allclose(predictions(tmp_path, OLDEST), expected, rtol=0, atol=1e-5)
