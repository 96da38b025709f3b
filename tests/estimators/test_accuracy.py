"""A small form of examples/benchmarks/bench_accuracy.py, which judges on beds that nothing was tuned to."""

import runpy
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "examples" / "benchmarks" / "bench_accuracy.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_bed_is_lost_to_tuned_ridge_regression_or_svr(tmp_path):
    bench = runpy.run_path(str(BENCH))
    bed = bench["listening_test"](0, tmp_path)
    rows = []
    for target in bed.Y:
        predicted, seconds = bench["cross_validate"](bed, "system", target)
        rows += bench["rows_of"](bed, "system", target, predicted, seconds)
    assert {row["metric"] for row in rows} == {"U_MSE", "U_LCC", "S_SRCC"}
    assert not [row for row in rows if row["ahead"] < 0 and row["p_value"] < 0.05]
    assert all(row["MOSRegressor"] < row["ridge"] for row in rows if row["metric"] == "U_MSE")
