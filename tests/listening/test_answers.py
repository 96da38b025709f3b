"""The file of answers: what was acknowledged stays, the first answer stays, and many share a commit."""

import asyncio
import sqlite3

import pytest

from musiceval_sk.listening.answers import AnswerStore, GroupCommit


def answer(rater="R01", position=1, score=4):
    return {
        "rater": rater,
        "batch": 1,
        "position": position,
        "trial": f"t{position}",
        "scores": {"impression": score},
    }


def add(store, answers):
    found = store.insert(answers)
    store.commit()
    return found


@pytest.fixture
def store(tmp_path):
    store = AnswerStore(tmp_path / "a.sqlite", "test-1")
    yield store
    store.close()


def test_the_first_answer_stays(store):
    assert add(store, [answer(), answer(position=2)]) == [None, None]
    assert add(store, [answer() | {"seconds": 9}]) == [None]
    assert add(store, [answer(score=1), answer(position=3)]) == [answer(), None]
    assert store.answers("R01") == [answer(), answer(position=2), answer(position=3)]
    assert store.answers("R02") == []


def test_every_commit_is_synced(store):
    pragma = {
        name: store._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    }
    assert pragma == {"journal_mode": "wal", "synchronous": 2}


def test_a_failed_transaction_leaves_nothing_and_the_next_goes_on(store):
    with pytest.raises(sqlite3.Error):
        add(store, [answer(), answer(position=2) | {"batch": {}}])
    assert store.answers() == []
    add(store, [answer()])
    assert store.answers() == [answer()]


def test_before_the_commit_nobody_sees_an_answer(store):
    store.insert([answer()])
    assert store.answers() == []
    store.commit()
    assert store.answers() == [answer()]


def test_what_waits_goes_in_together(store, monkeypatch):
    commits = []
    monkeypatch.setattr(store, "commit", lambda commit=store.commit: commits.append(commit()))

    async def all_at_once():
        group = GroupCommit(store)
        sent = [group.add([answer(f"R{i:03d}"), answer(f"R{i:03d}", 2)]) for i in range(300)]
        return await asyncio.gather(*sent, group.add([answer("R000", score=1)]))

    *found, clash = asyncio.run(all_at_once())
    assert found == [[None, None]] * 300 and clash == [answer("R000")]
    assert len(store.answers()) == 600 and len(commits) == 1


def test_who_waits_hears_of_a_failure_and_the_next_is_stored(store):
    async def one_after_another():
        group = GroupCommit(store)
        with pytest.raises(sqlite3.Error):
            await group.add([answer() | {"batch": {}}])
        return await group.add([answer()])

    assert asyncio.run(one_after_another()) == [None]
    assert store.answers() == [answer()]


@pytest.mark.parametrize("bad", [{"seconds": "\ud800"}, {"batch": {}}, {"position": 2**70}])
def test_what_cannot_be_stored_fails_alone(store, bad):
    async def all_at_once():
        group = GroupCommit(store)
        sent = [group.add([answer(f"R{i}") | (bad if i == 3 else {})]) for i in range(6)]
        return await asyncio.gather(*sent, return_exceptions=True)

    found = asyncio.run(all_at_once())
    assert isinstance(found.pop(3), Exception) and found == [[None]] * 5
    assert [one["rater"] for one in store.answers()] == ["R0", "R1", "R2", "R4", "R5"]


def test_a_full_disk_fails_all_at_once(store, monkeypatch):
    tries = []

    def full(answers):
        tries.append(len(answers))
        raise sqlite3.OperationalError("database or disk is full")

    async def all_at_once():
        group = GroupCommit(store)
        return await asyncio.gather(*[group.add([answer(f"R{i}")]) for i in range(6)], return_exceptions=True)

    monkeypatch.setattr(store, "insert", full)
    assert [str(error) for error in asyncio.run(all_at_once())] == ["database or disk is full"] * 6
    assert tries == [6]


def test_another_tests_file_is_refused(store, tmp_path):
    with pytest.raises(ValueError, match="answers of another test"):
        AnswerStore(store.path, "test-2")
    with pytest.raises(ValueError, match="cannot hold answers .unable to open database file"):
        AnswerStore(tmp_path, "test-1")  # a folder, as a disk without room for a file
    (tmp_path / "b.sqlite").write_text("no database, but a text that is long enough" * 9)
    with pytest.raises(ValueError, match="cannot hold answers"):
        AnswerStore(tmp_path / "b.sqlite", "test-1")


def test_tokens_are_kept_as_digests_and_can_be_renewed(store, tmp_path):
    with store.new_tokens(["R01", "R02"]) as tokens:
        assert store.token_digests() == {}
    assert min(map(len, tokens.values())) >= 43 and len(set(tokens.values())) == 2
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [token for token in tokens.values() if token.encode() in held]
    before = store.token_digests()
    with pytest.raises(OSError), store.new_tokens(["R01"]):
        raise OSError("the disk is full")
    assert store.token_digests() == before
    with store.new_tokens(["R01"]):
        pass
    assert store.token_digests()["R01"] != before["R01"]
    assert store.token_digests()["R02"] == before["R02"]
