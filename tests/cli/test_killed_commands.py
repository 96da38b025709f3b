"""Commands killed, interrupted and terminated at random moments, and some at once; `killed_commands` does it at length, with all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.short_runs import can_build

pytest.importorskip("uvicorn", reason="the server comes with the extra 'listen'")
ROOT = Path(__file__).parents[2]
OPTIONS = ["9", "--by", "KILL", "INT", "TERM", "--names", "extract", "fit", "serve"]


@pytest.mark.slow
@pytest.mark.skipif(not can_build(), reason="needs Linux and a C compiler to count writes")
def test_a_command_may_be_stopped_at_any_moment(tmp_path):
    """Nothing that was stored is lost or changed, nothing is left aside, and a second run ends as if nothing had been."""
    command = [sys.executable, "-m", "tests.cli.killed_commands", tmp_path, *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [words for *_, wrong in found.values() for words in wrong] == []
    assert sum(amid for _, amid, _ in found.values()) > 0
