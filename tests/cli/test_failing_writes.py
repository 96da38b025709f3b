"""A disk that fills, breaks or locks amid a command, at writes from its first to its last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.short_runs import build_library, can_build

pytest.importorskip("uvicorn", reason="the server comes with the extra 'listen'")
HERE = Path(__file__).parent
NAMES = ("extract", "study", "fit", "report", "serve")  # the others write by the same functions
MOST = 4  # of a command's writes, evenly chosen; that each may fail in a store is tested there


@pytest.mark.slow
@pytest.mark.skipif(not can_build(), reason="needs Linux and a C compiler to make writes fail")
def test_the_writes_of_a_command_may_fail(tmp_path):
    """Each failure is said in words that name the place; what was whole stays so, and nothing is left aside."""
    library = build_library(tmp_path)
    command = [sys.executable, "-m", "tests.cli.failing_writes", library, tmp_path, str(MOST), *NAMES]
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [name for name, (n_writes, _) in found.items() if n_writes < 5] == []
    assert [words for _, wrong in found.values() for words in wrong] == []
