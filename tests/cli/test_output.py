"""What commands write, and that none of it replaces a file unasked."""

import sys

import pytest
from typer.testing import CliRunner

from musiceval_sk.cli import app, output

# Each command that writes, with what it cannot do without.
WRITERS = {
    "demo": [],
    "study": ["clips.csv"],
    "curve": ["clips.csv"],
    "report": ["study"],
    "fit": ["clips.csv"],
    "predict": ["m.skops", "clips.csv"],
    "recalibrate": ["m.skops", "clips.csv"],
    "score": ["p.csv", "--truth", "clips.csv"],
    "clap-score": ["clips.csv"],
    "ratings": ["r.csv"],
    "pairs": ["p.csv"],
    "check": ["MusicEval-full"],
    "reproduce": ["MusicEval-full"],
    "listen design": ["clips.csv", "--raters", "3"],
    "listen build": ["design.json"],
    "listen export": ["a.sqlite", "--design", "design.json"],
    "cache export": ["--clips", "clips.csv"],
}


def commands():
    """Functions behind the commands, by name."""
    found = {}
    groups = {f"{group.name} ": group.typer_instance for group in app.app.registered_groups}
    for prefix, group in ({"": app.app} | groups).items():
        for one in group.registered_commands:
            found[prefix + one.callback.__name__.replace("_", "-")] = one.callback.__wrapped__
    return found


def run(name, *arguments):
    return CliRunner().invoke(app.app, [*name.split(), *map(str, arguments)])


def test_the_commands_that_write_are_those_with_force():
    writing = {name for name, function in commands().items() if hasattr(function, "written")}
    assert writing == set(WRITERS)
    for name in commands():
        assert ("--force" in run(name, "--help").stdout) == (name in WRITERS), name


@pytest.mark.parametrize("name", WRITERS)
def test_a_command_refuses_what_is_there_before_it_begins(name, tmp_path):
    names = commands()[name].written
    place = tmp_path / "made.skops"
    there = [place / one.replace("*", "old") for one in names] or [place]
    for path in there:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    out = [place] if name == "cache export" else ["--out", place]
    (tmp_path / "made-2.skops").touch()
    result = run(name, *out, *WRITERS[name])
    assert result.exit_code == 2
    words = "holds" if names else "is there already"
    assert result.stderr.startswith(f"error: {place}: {words}"), result.stderr
    assert f"--force replaces that, or name another, such as {tmp_path / 'made-3.skops'}" in result.stderr
    assert all(path.read_text() == "old" for path in there)
    # With --force it begins, and fails at what it is given.
    if name not in ("demo", "listen build"):
        forced = run(name, *out, *WRITERS[name], "--force")
        assert forced.exit_code != 0 and "already" not in forced.stderr
        assert all(path.read_text() == "old" for path in there)


def test_a_folder_of_other_files_or_of_what_was_left_by_a_kill_is_taken(tmp_path):
    (tmp_path / "fits").mkdir()
    (tmp_path / "notes.txt").touch()
    output.refuse_to_replace(tmp_path, ["study.csv", "study.json"])
    (tmp_path / "study.json").touch()
    with pytest.raises(ValueError, match="holds study.json already"):
        output.refuse_to_replace(tmp_path, ["study.csv", "study.json"])


def test_a_page_of_ratings_is_not_replaced(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    result = run("ratings", "r.csv", "--report", page)
    assert result.exit_code == 2 and "page.html: is there already; --force" in result.stderr
    assert page.read_text() == "old"


def test_a_file_stays_until_the_next_one_is_whole(tmp_path):
    place = tmp_path / "scores.csv"
    with output.replacing(place) as new:
        assert new == place  # rows can be read as they come
        place.write_text("old")
    with pytest.raises(KeyboardInterrupt), output.replacing(place) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert place.read_text() == "old" and [*tmp_path.iterdir()] == [place]
    with output.replacing(place) as aside:
        aside.write_text("new")
        assert place.read_text() == "old"
    assert place.read_text() == "new"
    with output.replacing(None) as stream:
        assert stream is sys.stdout


def test_files_of_a_folder_are_written_whole_or_not_at_all(tmp_path, capsys):
    def fail(path):
        path.write_text("half")
        raise OSError("the disk is full")

    output.write_files(tmp_path, {"a.csv": lambda path: path.write_text("a")})
    assert capsys.readouterr().err == f"wrote a.csv to {tmp_path}\n"
    with pytest.raises(OSError, match="full"):
        output.write_files(tmp_path, {"a.csv": fail})
    assert (tmp_path / "a.csv").read_text() == "a"


def test_a_shell_completes_commands():
    words = {"_MUSICEVAL_COMPLETE": "complete_bash", "COMP_WORDS": "musiceval st", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app.app, [], prog_name="musiceval", env=words)
    assert result.stdout.split() == ["study"]
