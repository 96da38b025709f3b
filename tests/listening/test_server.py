"""The server by requests: who may do what, what is refused, and that nothing else can be reached."""

import contextlib
import csv
import functools
import http.client
import json
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from random import Random
from unittest import mock

import pytest
from typer.testing import CliRunner

from musiceval_sk.cli.app import app
from musiceval_sk.listening import build_page, serve_page
from musiceval_sk.listening.served import ServedTest
from musiceval_sk.listening.server import bounded_protocol, make_app
from tests.listening.designs import made_design

pytest.importorskip("starlette", reason="the server comes with the extra 'listen'")
pytest.importorskip("httpx", reason="starlette's test client needs httpx")


class Site:
    def __init__(self, folder, built):
        from starlette.testclient import TestClient

        self.design, self.folder = built
        self.served = ServedTest(self.folder, folder / "answers.sqlite", self.design)
        self.links = folder / "links.csv"
        self.served.write_links(self.links, "http://lab.example/t/")
        self.client = TestClient(make_app(self.served))

    def token(self, name):
        with self.links.open() as file:
            return next(row["link"] for row in csv.DictReader(file) if row["rater"] == name).split("token=")[
                1
            ]

    def get(self, path, name=None, **options):
        headers = {} if name is None else self.header(name)
        return self.client.get(path, headers=headers | options)

    def header(self, name="R01"):
        return {"Authorization": f"Bearer {self.token(name)}"}

    def post(self, answers, name="R01"):
        return self.client.post("/api/answers", json=answers, headers=self.header(name))

    def answer(self, position=1, **changes):
        trial = self.served.batches["R01"][0]["trials"][position - 1]["trial"]
        pairs = self.served.test["method"] == "pairs"
        scores = {"preference": "tie"} if pairs else {"impression": 4, "alignment": 2}
        place = {"rater": "R01", "batch": 1, "position": position, "trial": trial}
        times = {"seconds": 12.3, "heard": 0.95, "order": position, "answered_at": "2026-11-30T03:50:00Z"}
        return place | {"scores": scores} | times | changes


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Design and page by method."""
    made = {}
    for method in ("acr", "slider", "pairs"):
        folder = tmp_path_factory.mktemp(method)
        design = made_design(folder, method)
        made[method] = design, build_page(design, folder / "test")
    return made


@pytest.fixture
def site(tmp_path, built, request):
    site = Site(tmp_path, built[getattr(request, "param", "acr")])
    with site.client:
        yield site


def test_a_rater_gets_the_own_trials_and_answers_alone(site):
    site.post([site.answer()])
    given = site.get("/api/test", "R02").json()
    assert (given["rater"], given["answers"]) == ("R02", [])
    assert "raters" not in given["test"] and given["batches"] == site.served.batches["R02"]
    assert site.get("/api/test", "R01").json()["answers"] == [site.answer()]
    assert site.get("/test.json").status_code == 404
    assert site.get("/test.js").text == "window.listenTest = null;\n"


def test_a_disk_that_is_full_is_told_and_answers_can_be_sent_again(site, monkeypatch, caplog):
    def full():
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(site.served.store, "commit", full)
        sent = site.post([site.answer()])
    assert (sent.status_code, sent.text) == (503, "answers cannot be stored now")
    words = "answers.sqlite: cannot store answers (database or disk is full); pages keep them, and send them again"
    assert words in caplog.text and "Traceback" not in caplog.text
    monkeypatch.undo()
    site.served.store._connection.rollback()
    assert site.post([site.answer()]).status_code == 200
    assert site.served.store.answers() == [site.answer()]


def test_an_answer_can_be_sent_again_and_the_first_stays(site):
    for _ in range(2):
        sent = site.post([site.answer(), site.answer(2)])
        assert (sent.status_code, sent.json()) == (200, {"stored": [[1, 1], [1, 2]], "conflicts": []})
    other = site.answer(scores={"impression": 1, "alignment": 1})
    sent = site.post([other, site.answer(3)])
    assert sent.status_code == 409
    assert sent.json() == {"stored": [[1, 3]], "conflicts": [site.answer()]}
    assert len(site.served.store.answers()) == 3


@pytest.mark.parametrize(
    "header",
    [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}],
)
def test_without_a_token_nothing_is_given_or_taken(site, header):
    for path in ("/api/test", "/api/overview"):
        assert site.client.get(path, headers=header).status_code == 401
    assert site.client.post("/api/answers", json=[site.answer()], headers=header).status_code == 401
    assert site.served.store.answers() == []


def test_tokens_open_their_own_doors_alone(site):
    assert site.get("/api/overview", "R01").status_code == 403
    assert site.get("/api/test", "(overview)").status_code == 403
    assert site.post([site.answer()], "(overview)").status_code == 403
    refused = site.post([site.answer()], "R02")
    assert refused.status_code == 422 and "the answer is of rater 'R01'" in refused.text


WRONG = [
    {"position": 99},
    {"position": "1"},
    {"position": True},
    {"batch": []},
    {"trial": "t_0"},
    {"scores": {"impression": 6, "alignment": 2}},
    {"scores": {"impression": 4.5, "alignment": 2}},
    {"scores": {"impression": True, "alignment": 2}},
    {"scores": {"impression": 4}},
    {"scores": {"preference": "a"}},
    {"scores": None},
    {"seconds": -1},
    {"heard": 1.5},
    {"heard": "1"},
    {"order": 0},
    {"answered_at": "x" * 99},
    {"answered_at": "\ud800"},
    {"answered_at": "2026-13-30T03:50:00Z"},
    {"answered_at": "٢026-11-30T03:50:00Z"},
    {"answered_at": "2026-11-30T03:50:00Z\n"},
    {"seconds": 10**400},
    {"heard": float("nan")},
    {"heard": True},
    {"order": 10**400},
    {"batch": 10**400},
    {"trial": "\ud800"},
    {"rater": ["\ud800"]},
    {"scores": {"impression": 10**400, "alignment": 2}},
    {"scores": {"\ud800": 4, "alignment": 2}},
    {"system": "A"},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: json.dumps(change)[:60])
def test_what_no_page_sends_is_refused_whole(site, change):
    body = json.dumps([site.answer(2), site.answer() | change])
    assert site.client.post("/api/answers", content=body, headers=site.header()).status_code == 422
    assert site.served.store.answers() == []


def spoilt(value, random):
    """An answer, or a part of one, with something else at some place."""
    odd = [
        None,
        True,
        -1,
        0,
        1,
        0.5,
        2**63,
        10**400,
        "",
        "\x00",
        "\ud800",
        "R02",
        [],
        {},
        [1],
        {"impression": 4},
    ]
    if random.random() < 0.3:
        return random.choice(odd)
    if isinstance(value, dict):
        name = random.choice([*value, "other"])
        return value | {name: spoilt(value.get(name), random)}
    if isinstance(value, list):
        return [spoilt(one, random) for one in value] + random.choices(odd, k=random.randrange(2))
    return (
        value[: random.randrange(99)] + random.choice("é\n'0")
        if isinstance(value, str)
        else random.choice(odd)
    )


def test_made_requests_get_an_answer_and_store_nothing_else(site):
    random, statuses = Random(0), Counter()
    good = [site.answer(position) for position in (1, 2)]
    assert site.post(good).status_code == 200
    kept = site.served.store.answers()
    for _ in range(400):
        body = json.dumps(spoilt([dict(random.choice(good))], random))
        at = random.randrange(len(body) * 20)
        body = body[:at] + random.choice('[]{},":\\e') + body[at:] if at < len(body) else body
        statuses[site.client.post("/api/answers", content=body, headers=site.header()).status_code] += 1
    assert set(statuses) <= {200, 400, 409, 422} and statuses[422] > 200
    assert len(kept) == 2 and site.served.store.answers() == kept


@pytest.mark.parametrize("site", ["pairs", "slider"], indirect=True)
def test_scores_are_those_of_the_method(site):
    is_pairs = site.served.test["method"] == "pairs"
    good = {"preference": "both_bad"} if is_pairs else {"impression": 63, "alignment": 0}
    bad = {"preference": "c"} if is_pairs else {"impression": 101, "alignment": 0}
    assert site.post([site.answer(scores=good)]).status_code == 200
    assert site.post([site.answer(2, scores=bad)]).status_code == 422


@pytest.mark.parametrize("depth", [10, 500, 900, 980])
def test_answers_of_any_depth_are_refused(site, depth):
    deep = "[" * depth + "]" * depth
    for name in site.answer():
        body = json.dumps([site.answer() | {name: "DEEP"}]).replace('"DEEP"', deep)
        assert site.client.post("/api/answers", content=body, headers=site.header()).status_code in (400, 422)


BODIES = [
    (b"{", 400),
    (b"\xff", 400),
    (b"[" * 100_000, 400),
    (b"{}", 422),
    (b"[1]", 422),
    (b"[NaN]", 422),
    (b" " * 300_000, 413),
]


@pytest.mark.parametrize(("body", "status"), BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_answers(site, body, status):
    assert site.client.post("/api/answers", content=body, headers=site.header()).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/audio/../test.json",
        "/audio/%2e%2e/test.json",
        "/audio/..%2ftest.json",
        "/audio/..%5ctest.json",
        "/..%2fanswers.sqlite",
        "//etc/passwd",
        "/audio//etc/passwd",
        "/texts.json",
        "/design.json",
        "/audio/",
        "/audio/private.wav",
    ],
)
def test_nothing_but_the_page_can_be_reached(site, path):
    (site.folder / "audio" / "private.wav").write_bytes(b"RIFF")
    assert site.client.get(path).status_code == 404


def test_headers_keep_the_page_to_itself(site):
    for path in ("/", "/listen.js", "/api/test", "/nowhere", "/overview"):
        headers = site.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert path.startswith("/api/") or headers["referrer-policy"] == "no-referrer"
    assert site.get("/api/test", "R01").headers["cache-control"] == "no-store"


def test_audio_comes_in_ranges(site):
    path = "/" + site.served.batches["R01"][0]["trials"][0]["audio"]
    whole = site.get(path)
    assert whole.headers["accept-ranges"] == "bytes" and whole.headers["content-type"] == "audio/wav"
    part = site.get(path, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    assert site.get(path, Range="bytes=99999999-").status_code == 416


def test_the_overview_counts_raters_and_clips(site):
    site.post([site.answer(), site.answer(2)])
    seen = site.get("/api/overview", "(overview)").json()
    assert [(one["rater"], one["done"], one["total"]) for one in seen["raters"]] == [
        ("R01", 2, 7),
        ("R02", 0, 7),
    ]
    assert seen["raters"][0]["last"] is not None and seen["raters"][1]["last"] is None
    counts = {one["clip"]: (one["done"], one["total"]) for one in seen["clips"]}
    # C000 is heard twice by both.
    assert (counts["C000"], counts["C001"], counts["C002"]) == ((1, 4), (1, 2), (0, 2))
    assert seen["clips"][0]["done"] == 0


def test_links_are_private_stay_and_can_be_renewed(site):
    assert stat.S_IMODE(site.links.stat().st_mode) == 0o600
    with site.links.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rater"] for row in rows] == ["(overview)", "R01", "R02"]
    assert rows[0]["link"].startswith("http://lab.example/t/overview#token=")
    assert rows[1]["link"].startswith("http://lab.example/t/#token=")
    assert site.served.write_links(site.links, "http://x") == 0
    old = site.token("R01")
    assert site.served.write_links(site.links, "http://x", renew=True) == 3
    assert site.served.whose(old) is None and site.served.whose(site.token("R01")) == "R01"


def test_links_that_cannot_be_written_void_none(site, tmp_path):
    old = site.token("R01")
    with pytest.raises(OSError):
        site.served.write_links(tmp_path / "nowhere" / "links.csv", "http://x", renew=True)
    again = ServedTest(site.folder, tmp_path / "answers.sqlite")
    assert again.whose(old) == "R01"
    again.store.close()
    new = ServedTest(site.folder, tmp_path / "b.sqlite")
    with pytest.raises(OSError):
        new.write_links(tmp_path, "http://x")
    assert new.store.token_digests() == {}
    new.store.close()


def test_links_that_lead_elsewhere_are_pointed_out(built, tmp_path, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    for url in ("http://lab.example", "http://lab.example/"):
        serve_page(built["acr"][1], tmp_path / "a.sqlite", port=0, url=url)
    with pytest.warns(
        UserWarning, match=r"a\.links\.csv: has no links to http://x; links given away stay valid"
    ):
        serve_page(built["acr"][1], tmp_path / "a.sqlite", port=0, url="http://x")


def test_links_in_a_file_that_others_could_read_are_private(site, tmp_path):
    path = tmp_path / "open.csv"
    path.write_text("rater,link\nR00,http://x\n")
    path.chmod(0o644)
    new = ServedTest(site.folder, tmp_path / "b.sqlite")
    assert new.write_links(path, "http://x") == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("rater,link\nR00,http://x\n(overview),http://x/overview#")
    assert new.write_links(path, "http://x", renew=True) == 3
    with path.open() as file:
        assert [row["rater"] for row in csv.DictReader(file)] == ["(overview)", "R01", "R02"]
    new.store.close()


def test_a_port_that_is_taken_is_named_with_the_way_out(built, tmp_path):
    pytest.importorskip("uvicorn", reason="the server comes with the extra 'listen'")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        arguments = [
            "listen",
            "serve",
            str(built["acr"][1]),
            "--answers",
            str(tmp_path / "a.sqlite"),
            "--port",
            str(port),
        ]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    words = f"error: cannot listen at 127.0.0.1, port {port} (Address already in use); stop the program that has the port"
    assert words in result.output and "set another --port" in result.output
    assert not list(tmp_path.glob("*.links.csv"))
    with pytest.raises(ValueError, match="host= is an address of this machine"):
        serve_page(built["acr"][1], tmp_path / "a.sqlite", host="no such host")


def test_what_cannot_be_served_is_refused(site, tmp_path):
    with pytest.raises(ValueError, match="holds no built test"):
        ServedTest(tmp_path, tmp_path / "b.sqlite")
    with pytest.raises(ValueError, match="keep answers outside"):
        ServedTest(site.folder, site.folder / "b.sqlite")
    other = made_design(tmp_path / "other", n_clips=4)
    with pytest.raises(ValueError, match="design of another test"):
        ServedTest(site.folder, tmp_path / "b.sqlite", other)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_second_interrupt_cuts_connections_and_says_what_is_kept(built, tmp_path):
    pytest.importorskip("uvicorn")
    answers = tmp_path / "answers.sqlite"
    with serving(built["acr"][1], answers) as (process, port):
        try:
            with connected(process, port) as waiting:
                with answers.with_suffix(".links.csv").open() as file:
                    token = [*csv.DictReader(file)][1]["link"].split("token=")[1]
                head = f"POST /api/answers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                waiting.sendall(f"{head}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n".encode())
                assert waiting.recv(99).startswith(b"HTTP/1.1 100")  # answers are on their way
                process.send_signal(signal.SIGINT)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.send_signal(signal.SIGINT)
                _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert told == f"interrupted: what was finished is kept: answers in {answers}\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_more_connections_than_there_are_files_end_nothing(built, tmp_path):
    pytest.importorskip("uvicorn")
    resource = pytest.importorskip("resource")
    few = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (64, 64))
    with serving(built["acr"][1], tmp_path / "answers.sqlite", preexec_fn=few) as (process, port):
        try:
            connected(process, port).close()
            with contextlib.ExitStack() as flood:
                for _ in range(100):
                    flood.enter_context(socket.create_connection(("127.0.0.1", port)))
                time.sleep(0.5)
            status = None
            while status is None and process.poll() is None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    visitor = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    visitor.request("GET", "/")
                    status = visitor.getresponse().status
                    visitor.close()
            assert status == 200
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, told) == (0, "")


@contextlib.contextmanager
def serving(folder, answers, **options):
    """Serve a test in a process of its own; give it and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "musiceval_sk", "listen", "serve", folder, "--answers", answers]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*map(str, command), "--port", str(port)], **pipes, **options) as process:
        yield process, port


def connected(process, port):
    """Connect as soon as the server listens."""
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except OSError:
            assert process.poll() is None
            time.sleep(0.1)
    raise TimeoutError("the server does not answer")


def test_nothing_is_served_from_elsewhere(tmp_path, built):
    folder = shutil.copytree(built["acr"][1], tmp_path / "test")
    sound = next((folder / "audio").iterdir())
    (tmp_path / "secret").write_text("secret")
    sound.unlink()
    sound.symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=rf"{sound.name}: outside of the folder"):
        ServedTest(folder, tmp_path / "answers.sqlite")


def test_a_name_of_a_rater_is_no_formula_in_the_links(tmp_path, built):
    folder = shutil.copytree(built["acr"][1], tmp_path / "test")
    content = json.loads((folder / "test.json").read_text())
    content["raters"] = {"=HYPERLINK(1)": content["raters"]["R01"]}
    (folder / "test.json").write_text(json.dumps(content))
    ServedTest(folder, tmp_path / "answers.sqlite").write_links(tmp_path / "links.csv", "http://x")
    assert [line[:2] for line in (tmp_path / "links.csv").read_text().splitlines()] == ["ra", "(o", "'="]


@pytest.fixture
def connection():
    """Protocol of a connection, what closes it, and a loop whose calls are made by hand."""
    pytest.importorskip("httptools")
    uvicorn = pytest.importorskip("uvicorn")
    loop, transport = mock.MagicMock(), mock.MagicMock()
    transport.get_extra_info.return_value = None
    loop.create_task.side_effect = lambda task, **_: task.close() or mock.DEFAULT
    config = uvicorn.Config(lambda scope, receive, send: None, log_config=None)
    config.load()
    state = mock.MagicMock(connections=set(), tasks=set())
    protocol = bounded_protocol()(config=config, server_state=state, app_state={}, _loop=loop)
    protocol.connection_made(transport)
    return protocol, transport, loop


def test_a_head_without_end_is_cut_off(connection):
    protocol, transport, _ = connection
    protocol.data_received(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(64):
        protocol.data_received(b"x" * 1000)
    transport.close.assert_not_called()
    for _ in range(4):
        protocol.data_received(b"x" * 1000)
    transport.close.assert_called()


def test_a_request_that_never_comes_whole_is_cut_off(connection):
    protocol, transport, loop = connection
    (seconds, close), deadline = loop.call_later.call_args.args, loop.call_later.return_value
    assert (seconds, close) == (60, transport.close)
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert loop.call_later.call_args.args == (60, transport.close)
    n_cancelled = deadline.cancel.call_count
    protocol.data_received(b"\r\n")
    assert deadline.cancel.call_count > n_cancelled
