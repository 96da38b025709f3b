"""Progress of long tasks: a bar on a terminal, lines elsewhere, and nothing where nobody asked."""

import time
from types import SimpleNamespace

import pytest

from musiceval_sk import _progress


@pytest.fixture(autouse=True)
def now(monkeypatch):
    """Lines come at once, and the clock that they show is set by hand."""
    now = [100.0]
    monkeypatch.setattr(_progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(_progress, "SECONDS", 0.01)
    return now


def lines(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def wait_for(line, capsys):
    for _ in range(5000):
        if line in lines(capsys):
            return
        time.sleep(0.01)
    raise AssertionError(f"no line came that says {line}")


def test_without_a_terminal_nothing_is_shown_unless_asked_for(capsys):
    with _progress.progress(3, "study", "fit") as shown:
        shown.update()
        time.sleep(0.1)
    assert lines(capsys) == [] and not _progress.is_wanted()
    with _progress.shown_everywhere():
        assert _progress.is_wanted()
        with _progress.progress(3, "study", "fit", False):
            time.sleep(0.1)
    assert lines(capsys) == [] and not _progress.is_wanted()


def test_lines_come_from_time_to_time_and_once_more_at_the_end(capsys):
    with _progress.shown_everywhere(), _progress.progress(3, "study", "fit") as shown:
        wait_for("study: 0 of 3 fits, 0:00", capsys)
        shown.set_postfix_str("loss 0.5")
        shown.update(3)
    assert lines(capsys)[-1] == "study: 3 of 3 fits (loss 0.5), 0:00"


def test_a_short_task_tells_nothing(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "SECONDS", 60)
    with _progress.progress(1, "study", "fit", True) as shown:
        shown.update()
    assert lines(capsys) == []


def test_what_is_left_goes_by_the_speed_after_the_first_unit_once_a_twentieth_is_done(now, monkeypatch):
    monkeypatch.setattr(_progress, "SECONDS", 60)
    with _progress.progress(100, "fine-tuning", "step", True, begun=40) as shown:
        now[0] += 90  # a model is loaded
        shown.update()
        now[0] += 10
        shown.update(2)
        assert str(shown) == "fine-tuning: 43 of 100 steps, 1:40"
        now[0] += 90
        shown.update(18)  # 20 steps in 100 s, so 39 in 195
        assert str(shown) == "fine-tuning: 61 of 100 steps, 3:10, about 3:15 left"
        now[0] += 3600
        assert str(shown).startswith("fine-tuning: 61 of 100 steps, 1:03:10, about 2:00:15")


def test_a_task_within_another_shares_its_line(capsys):
    with _progress.progress(9, "predict", "clip", True):
        with _progress.progress(5, "spectral", "clip", True):
            wait_for("predict: 0 of 9 clips, 0:00; spectral: 0 of 5 clips, 0:00", capsys)
        wait_for("predict: 0 of 9 clips, 0:00", capsys)


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with _progress.progress(3, "study", "fit") as shown:
        shown.update(3)
    assert "study: 100%" in capsys.readouterr().err


def test_a_closed_stream_ends_no_task(monkeypatch):
    class Closed:
        def isatty(self):
            return False

        def write(self, text):
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr("sys.stderr", Closed())
    with _progress.progress(3, "study", "fit", True):
        time.sleep(0.1)
