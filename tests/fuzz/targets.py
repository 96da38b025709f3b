"""Every reader of a file, with inputs to begin from: what to call on damaged bytes, and which errors it may raise.

A target is made once in a folder of its own, and then takes bytes: of most the first byte chooses a file's name or an option, and
the rest is the file. Of files that carry checksums or are packed, the bytes say what lies inside; the target packs and signs them.
"""

import contextlib
import functools
import io
import json
import os
import resource
import sqlite3
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
import soundfile
from sklearn.linear_model import Ridge

import musiceval_sk as ms
from musiceval_sk import exceptions
from musiceval_sk.datasets.musiceval.layout import read_system_table
from musiceval_sk.estimators.persistence import read_tensors, save_model, write_tensors
from musiceval_sk.features.digests import FileIndex
from musiceval_sk.features.store.maintain import verify_store
from musiceval_sk.listening.design import load_test
from musiceval_sk.listening.export import read_answers as read_raters_answers
from musiceval_sk.listening.page.build import page_texts, test_id
from musiceval_sk.listening.served import ServedTest
from musiceval_sk.ratings.answers import read_answers
from musiceval_sk.ratings.formats import FORMATS, read_ratings
from musiceval_sk.ratings.pairs import read_pairs
from musiceval_sk.reproduction.result import ReproductionResult
from musiceval_sk.studies.plan import read_features
from tests.features.store import writers
from tests.listening.designs import given_answers, made_design
from tests.ratings.formats.samples import OTHERS, SAMPLES
from tests.reporting.studies import made_clips, made_study

OURS = tuple(
    kind for kind in vars(exceptions).values() if isinstance(kind, type) and kind.__name__.endswith("Error")
)
MEMORY_FACTOR, MEMORY_BYTES = 10, 1 << 26

Read = Callable[[bytes], object]


class Target(NamedTuple):
    """How to read bytes, and bytes that can be read; ``documented`` errors must name the file."""

    read: Read
    seeds: list[bytes]
    documented: tuple[type[Exception], ...] = ()


TARGETS: dict[str, Callable[[Path], Target]] = {}


class UnexpectedError(AssertionError):
    """What a reader must not do."""


def judge(target: Target, data: bytes) -> str:
    """Read bytes and name the outcome; raise unless it is a result or one of our errors, within bounds of memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.read(data)
            outcome = "read"
        except OURS as error:
            outcome = type(error).__name__
            _check_words(error, data)
        except target.documented as error:
            outcome = type(error).__name__
            _check_words(error, data)
            if "file." not in str(error):
                raise UnexpectedError(f"{error!r} names no file") from error
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > MEMORY_FACTOR * len(data) + MEMORY_BYTES:
        raise UnexpectedError(f"{grown / 1e6:.0f} MB were taken for {len(data)} bytes")
    return outcome


def _check_words(error: Exception, data: bytes) -> None:
    words = str(error)
    words.encode()
    if len(words) > 20_000 and len(words) > 4 * len(data):
        raise UnexpectedError(f"a message of {len(words)} characters") from error


def target(make):
    """Put a target into the table under the name of what makes it."""
    TARGETS[make.__name__] = make
    return make


def _of_names(folder: Path, read: Callable, suffixes: tuple[str, ...]) -> Read:
    """Write all but the first byte to a file whose name that byte chooses."""

    def write_and_read(data):
        path = folder / f"file{suffixes[data[0] % len(suffixes)] if data else suffixes[0]}"
        path.write_bytes(data[1:])
        return read(path)

    return write_and_read


CLIPS = 'clip_id,path,prompt,system,impression,alignment,start_time,end_time\na,a.wav,calm,S1,3.5,2,0,1\nb,b.wav,"x, y",S2,1,5,,\n'
LINES = '{"clip_id": "a", "path": "a.wav", "impression": 3}\n{"clip_id": "b", "path": "b.wav", "impression": null}\n'
VERSA = '{"key": "a.wav", "utmos": 3.5, "text": "x"}\n{\'key\': \'b.wav\', \'utmos\': np.float32(1.5), "x": [1]}\n'
AUDIOBOX = '{"CE": 5.1, "CU": 5.8, "PC": 2.1, "PQ": 7.2}\n'
SONGEVAL = '{"a": {"Coherence": 3.1, "Musicality": 3.0}, "b": {"Coherence": 2}}'
_TABLES = (".csv", ".tsv", ".jsonl", ".txt", ".scp", ".csv.gz")


def _numbered(*texts: str | bytes) -> list[bytes]:
    return [bytes([i]) + (text.encode() if isinstance(text, str) else text) for i, text in enumerate(texts)]


@target
def clips(folder):
    seeds = _numbered(
        CLIPS, CLIPS.replace(",", "\t"), LINES, CLIPS.replace(",", ";"), "a a.wav\nb b.wav\n", ""
    )
    seeds += [bytes([2]) + VERSA.encode(), b"\0sep=;\npath;mos\na.wav;3,5\n", b"\0" + CLIPS.encode("utf-16")]
    return Target(_of_names(folder, functools.partial(ms.load_clips, require_path=False), _TABLES), seeds)


@target
def clips_packed(folder):
    """Tables within gzip."""
    import gzip

    def read(data):
        path = folder / f"file{('.csv', '.tsv', '.jsonl')[data[0] % 3] if data else '.csv'}.gz"
        path.write_bytes(gzip.compress(data[1:], 1))
        return ms.load_clips(path)

    return Target(read, _numbered(CLIPS, CLIPS.replace(",", "\t"), LINES))


@target
def side_table(folder):
    (folder / "clips.csv").write_text(CLIPS)
    read = functools.partial(ms.load_clips, folder / "clips.csv")
    return Target(
        _of_names(folder, lambda path: read(prompts=path), _TABLES),
        _numbered("clip_id,prompt,system\na,new,S3\nc,old,S4\n", "clip_id\tmos\na\t1\n", LINES),
    )


@target
def spreadsheet(folder):
    """The XML of a sheet within a spreadsheet."""
    openpyxl = _imported("openpyxl")
    book = openpyxl.Workbook()
    for row in CLIPS.splitlines():
        book.active.append(row.replace('"x, y"', "x").split(","))
    book.save(folder / "whole.xlsx")
    with zipfile.ZipFile(folder / "whole.xlsx") as file:
        parts = {name: file.read(name) for name in file.namelist()}
    names = sorted(name for name in parts if name.endswith(".xml"))

    def read(data):
        chosen = names[data[0] % len(names)] if data else ""
        with zipfile.ZipFile(folder / "file.xlsx", "w") as file:
            for name, content in parts.items():
                file.writestr(name, data[1:] if name == chosen else content)
        return ms.load_clips(folder / "file.xlsx")

    return Target(read, _numbered(*(parts[name] for name in names)))


@target
def parquet(folder):
    arrow, writer = _imported("pyarrow"), _imported("pyarrow.parquet")
    sounds = [{"bytes": b"RIFF", "path": "a.wav"}, {"bytes": None, "path": None}]
    made = arrow.table({"audio": sounds, "impression": [3.5, None], "alignment": ["4", "x"]})
    seeds = []
    for options in ({"compression": "NONE", "use_dictionary": False}, {"compression": "SNAPPY"}):
        file = io.BytesIO()
        writer.write_table(made, file, **options)
        seeds.append(file.getvalue())
    (folder / "data").mkdir()

    def read(data):
        (folder / "data" / "train-00000-of-00001.parquet").write_bytes(data)
        return ms.load_musiceval(folder, "total", counts=None, check=False, sounds=folder / "sounds")

    return Target(read, seeds)


@target
def musiceval(folder):
    """Lists, prompts and ratings in a folder of MusicEval."""
    names = (
        "sets/train_mos_list.txt",
        "prompt_info.txt",
        "person_mos/person_mos.csv",
        "demo_prompt_info.txt",
    )
    for name in ("sets", "wav", "person_mos", "system_mos"):
        (folder / name).mkdir()
    train = "audiomos2025-track1-S001_P001.wav,3.2,4\naudiomos2025-track1-S002_P001.wav,1,2\n"
    (folder / names[0]).write_text(train)

    def read(data):
        chosen = folder / names[data[0] % len(names)] if data else folder / names[0]
        chosen.write_bytes(data[1:])
        try:
            return ms.load_musiceval(folder, "train", counts=None)
        finally:
            chosen.unlink()
            (folder / names[0]).write_text(train)

    return Target(read, _numbered(train, "id\ttext\nP001\tcalm piano\n", train, "id\ttext\nP001\tx\n"))


@target
def system_table(folder):
    read = functools.partial(read_system_table, scale=(1, 5))
    return Target(
        _of_names(folder, read, (".csv", ".tsv", ".jsonl", ".csv.gz")),
        _numbered(
            "S001,3.2,4\nS002,1,2\n", "system\timpression\nS1\t3\n", '{"system": "S1", "impression": 3}\n'
        ),
    )


@target
def ratings(folder):
    suffixes = (".csv", ".json", ".tsv", ".txt", ".jsonl")
    seeds = []
    for name, text, *_ in (SAMPLES | OTHERS).values():
        suffix = Path(name).suffix
        if suffix in suffixes:
            seeds.append(bytes([suffixes.index(suffix)]) + text.encode())
    return Target(_of_names(folder, read_ratings, suffixes), seeds)


@target
def ratings_of_a_format(folder):
    """A file read as of a format that it may not be."""
    formats, suffixes = sorted(FORMATS), (".csv", ".json", ".jsonl", ".txt")

    def read(data):
        path = folder / f"file{suffixes[data[1] % 4] if len(data) > 1 else '.csv'}"
        path.write_bytes(data[2:])
        return read_ratings(path, formats[data[0] % len(formats)] if data else "long")

    seeds = []
    for sample, (name, text, *_) in (SAMPLES | OTHERS).items():
        place = formats.index(sample.partition(",")[0])
        suffix = Path(name).suffix
        seeds.append(bytes([place, suffixes.index(suffix) if suffix in suffixes else 0]) + text.encode())
    return Target(read, seeds)


@target
def pairs(folder):
    seeds = _numbered(
        "rater,clip_a,clip_b,preference\nA,x,y,a\nA,y,z,tie\n",
        '{"clip_a": "x", "clip_b": "y", "preference": "b"}\n',
    )
    return Target(_of_names(folder, read_pairs, (".csv", ".jsonl", ".json")), seeds)


@target
def averaged_ratings(folder):
    seeds = _numbered("rater,clip_id,impression,alignment,batch\nA,x,3,4,1\nB,x,4,,1\nA,y,2,2,1\n", LINES)
    return Target(_of_names(folder, ms.aggregate_ratings, (".csv", ".jsonl")), seeds)


@target
def answers(folder):
    (folder / "list.csv").write_text("clip_id\na\n")
    read = functools.partial(read_answers, listing=folder / "list.csv", scale=(1, 10))
    seeds = _numbered("a,3,4\nb,2,1\n", CLIPS, LINES, SONGEVAL) + [
        bytes([2]) + text.encode() for text in (VERSA, AUDIOBOX)
    ]
    return Target(_of_names(folder, read, (".txt", ".csv", ".jsonl", ".json")), seeds)


@target
def vectors(folder):
    return Target(
        _of_names(folder, read_features, (".csv", ".jsonl")),
        _numbered("clip_id,a,b\nx,1,2\n", '{"clip_id": 1, "a": 2}\n'),
    )


@target
def design(folder):
    seeds = [b"\0" + made_design(folder / method, method).read_bytes() for method in ("acr", "pairs")]

    def read(path):
        test = load_test(path)
        return test.to_frame(), test.rated_clips(), test.score_range

    return Target(_of_names(folder, read, (".json",)), seeds)


@target
def raters_answers(folder):
    """Answers that raters downloaded, and those in the server's file."""
    place = made_design(folder / "test")
    test = load_test(place)
    given = given_answers(test, lambda rater, clip, scale: 3)
    whole = {"format": "musiceval-answers", "version": 1, "test": test_id(test), "rater": "R01"}
    whole["answers"] = given["R01"] if isinstance(given, dict) else given

    def read(data):
        if data[:1] != b"\1":
            path = folder / "file.json"
            path.write_bytes(data[1:])
        else:
            path = folder / "file.sqlite"
            path.unlink(missing_ok=True)
            file = sqlite3.connect(path)
            file.execute("CREATE TABLE about (name TEXT, value TEXT)")
            file.execute("CREATE TABLE answers (rater TEXT, batch INTEGER, position INTEGER, answer TEXT)")
            file.execute("INSERT INTO about VALUES ('test', ?)", [test_id(test)])
            lines = data[1:].decode(errors="replace").splitlines()
            file.executemany("INSERT INTO answers VALUES ('R01', 1, ?, ?)", enumerate(lines))
            file.commit()
            file.close()
        return read_raters_answers(path, test)

    lines = "\n".join(map(json.dumps, whole["answers"]))
    return Target(read, [b"\0" + json.dumps(whole).encode(), b"\1" + lines.encode()])


@target
def texts(folder):
    own = {"title": "Test", "scales": {"impression": {"question": "How?", "anchors": ["a", "b"]}}}
    return Target(
        _of_names(folder, page_texts, (".json",)), [b"\0" + json.dumps(own).encode()], (ValueError,)
    )


@target
def served_test(folder):
    """A built page, read by the server."""
    trial = {"trial": "t_x", "sound": "audio/a.wav", "prompt": "calm"}
    built = {
        "format": "musiceval-listening-page-1",
        "id": "t",
        "method": "acr",
        "scales": ["impression"],
        "training": [trial],
        "raters": {"R01": [{"batch": 1, "trials": [trial]}]},
    }
    from musiceval_sk.listening.page.build import FORMAT

    built["format"] = FORMAT
    (folder / "file.page").mkdir()

    def read(data):
        (folder / "file.page" / "test.json").write_bytes(data)
        for old in folder.glob("answers.sqlite*"):
            old.unlink()
        served = ServedTest(folder / "file.page", folder / "answers.sqlite")
        served.store.close()

    return Target(read, [json.dumps(built).encode()], (ValueError,))


PLAN = """
clips = "clips.csv"
ratings = "ratings.csv"
targets = ["impression"]
cv = ["system", "prompt"]
n_splits = 2
scale = [1, 5]

[features.spectral]
encoder = "spectral"
pooling = ["mean", "max"]

[features.own]
table = "own.csv"

[models.ridge]
estimator = "Ridge"
alpha = 10.0

[ratings_options]
format = "long"
columns = {rater = "who"}
"""


@target
def plan(folder):
    table = pd.DataFrame({"system": ["a", "b"], "prompt": ["x", "y"]}, index=["c", "d"])

    def read(path):
        found = ms.StudyPlan.from_file(path)
        with contextlib.suppress(ValueError):  # of a plan, which knows no file
            found.feature_sets()
            found.models_for(table)

    yaml = "clips: clips.csv\nfeatures:\n  s: {encoder: spectral, pooling: [mean, max]}\nmodels: [ridge]\nscale: [1, 5]\n"
    suffixes = (".toml", ".yaml")
    circular = "clips: a\nfeatures: &f {a: *f}\n", "clips: &c [x, *c]\n"
    seeds = [*_numbered(PLAN, yaml), *(b"\1" + text.encode() for text in circular)]
    return Target(_of_names(folder, read, suffixes), seeds, (ValueError,))


@target
def study(folder):
    made_study(made_clips(3, 2), {"mean": None, "ridge": np.linspace(1, 5, 6)}, resamples=0).to_json(
        folder / "study.json"
    )
    seed = json.loads((folder / "study.json").read_text())
    return Target(
        _of_names(folder, ms.StudyResult.from_json, (".json",)),
        [b"\0" + json.dumps(seed).encode()],
        (ValueError,),
    )


@target
def reproduction(folder):
    about = {"protocol": {"name": "frozen"}, "split": {"name": "x"}}
    table = [
        {
            "target": "impression",
            "row": "ours",
            "metric": "U_MSE",
            "value": 1.0,
            "low": 0,
            "high": 2,
            "kind": "x",
        }
    ]
    predictions = [
        {"target": "impression", "row": "x", "clip_id": "a", "truth": 1, "prediction": 2, "seed": 0}
    ]
    whole = {"about": about, "notes": ["x"], "table": table, "predictions": predictions}
    from musiceval_sk.reproduction import result

    for columns, rows in (
        (result.FIGURES, table),
        (result._PREDICTED, predictions),
        (result.NUMBERS, table),
    ):
        for row in rows:
            row.update({name: 1 for name in columns if name not in row})
    return Target(
        _of_names(folder, ReproductionResult.from_json, (".json",)),
        [b"\0" + json.dumps(whole).encode()],
        (ValueError,),
    )


def _store(folder):
    store = ms.EmbeddingStore(folder / "whole.h5")
    writers.append(store, 0, 1, 2)
    store.append("text", {"name": "words"}, [writers.key_of(9)], [np.ones(3)])
    store.compact()
    return store.path


def _read_store(path):
    store = ms.EmbeddingStore(path)
    for modality, fingerprint in store.groups():
        keys = [writers.key_of(number) for number in range(4)]
        known = store.contains(modality, fingerprint, keys)
        store.read(
            modality, fingerprint, [key for key, is_known in zip(keys, known, strict=True) if is_known]
        )
    return store.encoders()


@target
def store_bytes(folder):
    whole = _store(folder).read_bytes()

    def read(data):
        (folder / "file.h5").write_bytes(data)
        verify_store(ms.EmbeddingStore(folder / "file.h5"))
        return _read_store(folder / "file.h5")

    return Target(read, [whole])


@target
def store_layout(folder):
    """Steps of four bytes, each of which changes a dataset, an attribute or a link of a store."""
    whole = _store(folder).read_bytes()

    def read(data):
        (folder / "file.h5").write_bytes(whole)
        with h5py.File(folder / "file.h5", "a") as file:
            for at in range(0, min(len(data), 32) - 3, 4):
                _change_store(file, *data[at : at + 4])
        return _read_store(folder / "file.h5")

    return Target(read, [bytes(4), bytes(range(16)), bytes([2, 7, 1, 3, 8, 2, 0, 1])])


_SHAPES = ((0,), (1,), (3, 4), (6, 4), (1 << 20,), (1 << 40, 4), (3, 32), (2, 2, 2), (6, 0), ())
_TYPES = ("f4", "f8", "i8", "u8", "u1", "S4", "?", "f2", ">i8", h5py.string_dtype())
_ODD = (
    0,
    2,
    3,
    -1,
    2**62,
    1.5,
    np.nan,
    "2",
    b"",
    "\udc80".encode("utf-8", "surrogateescape"),
    "é",
    np.zeros(3),
    np.zeros((0,)),
)


def _change_store(file, action, place, how, value):
    """Change a store in one of a dozen ways; one that HDF5 refuses changes nothing."""
    names: list[str] = []
    file.visit(names.append)
    name = names[place % len(names)] if names else "/"
    member = file.get(name) if names else file
    shape, kind, odd = _SHAPES[how % len(_SHAPES)], _TYPES[value % len(_TYPES)], _ODD[value % len(_ODD)]
    try:
        if action % 10 == 0:
            del file[name]
        elif action % 10 == 1:
            file[f"{name}{how}"] = member
        elif action % 10 == 2:
            holder = member if how % 2 else file
            names = list(holder.attrs) or ["format"]
            holder.attrs[names[how % len(names)]] = odd
        elif action % 10 == 3:
            holder = member if how % 2 else file
            del holder.attrs[list(holder.attrs)[how % len(holder.attrs)]]
        elif action % 10 == 4:
            del file[name]
            chunks = tuple(min(n, 64) or 1 for n in shape) if shape and value % 2 else None
            file.create_dataset(name, shape, kind, chunks=chunks)
        elif action % 10 == 5:
            del file[name]
            file[name] = np.ones(shape if np.prod(shape) < 1e6 else (3,), "f4" if value % 2 else "i8")
        elif action % 10 == 6:
            del file[name]
            file.create_group(name)
        elif action % 10 == 7 and isinstance(member, h5py.Dataset):
            flat = np.ravel(member[()])
            flat[how % len(flat)] = odd
            member[()] = flat.reshape(member.shape)
        elif action % 10 == 8:
            file.move(name, ("audio", "text", "x", "audio/0", "text/x")[how % 5])
        elif action % 10 == 9:
            del file[name]
            file[name] = h5py.SoftLink("/" if how % 2 else names[value % len(names)])
    except (
        TypeError,
        ValueError,
        KeyError,
        RuntimeError,
        OSError,
        IndexError,
        ZeroDivisionError,
        MemoryError,
    ):
        pass


@target
def file_index(folder):
    """What is remembered of files' digests, of which any damage costs time only."""
    (folder / "a.wav").write_bytes(b"sound")
    os.utime(folder / "a.wav", (10**9, 10**9))
    import time

    time.sleep(0.02)
    from unittest import mock

    from musiceval_sk.features import digests

    with mock.patch.object(digests, "_SETTLED_NANOSECONDS", -1):
        index = FileIndex(folder / "index.npy")
        index.digests([folder / "a.wav"])
        index.save()

    def read(data):
        (folder / "file.npy").write_bytes(data)
        index = FileIndex(folder / "file.npy")
        (digest,) = index.digests([folder / "a.wav"])
        if not isinstance(digest, bytes):
            raise digest
        index.save()

    return Target(read, [(folder / "index.npy").read_bytes()])


def _regressor():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 3)), columns=list("abc"))
    return ms.MOSRegressor(hidden_layer_sizes=(4, 2), max_iter=2, random_state=0).fit(X, 3 + X["a"])


@target
def model_bytes(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = _regressor().save(folder / "whole.safetensors")
    save_model(Ridge().fit(np.eye(3), np.arange(3)), folder / "whole.skops")
    seeds = [path.read_bytes(), (folder / "whole.skops").read_bytes()]

    def read(data):
        (folder / "file.model").write_bytes(data)
        return ms.load_model(folder / "file.model")

    return Target(read, seeds)


@target
def model_tensors(folder):
    """Content and arrays of a regressor's file, whose checksum is made anew."""
    form = "musiceval-mosregressor"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content, tensors = read_tensors(_regressor().save(folder / "whole.safetensors"), form)

    def read(data):
        text, _, steps = data.partition(b"\0")
        _write_signed(folder / "file.model", form, text, _damaged(tensors, steps))
        model = ms.load_model(folder / "file.model")
        return model

    return Target(read, [json.dumps(content).encode() + b"\0", json.dumps(content).encode() + b"\0\1\2\3"])


def _write_signed(path, form, text, tensors):
    """Write a file as `write_tensors` does; text that is no JSON is put in its place all the same."""
    from unittest import mock

    text = text.decode(errors="replace")
    with mock.patch("musiceval_sk.estimators.persistence.json.dumps", lambda *_, **__: text):
        write_tensors(path, form, {}, tensors)


def _damaged(tensors, steps):
    tensors = dict(tensors)
    for at in range(0, min(len(steps), 12) - 2, 3):
        action, place, how = steps[at : at + 3]
        names = sorted(tensors)
        if not names:
            break
        name = names[place % len(names)]
        if action % 4 == 0:
            del tensors[name]
        elif action % 4 == 1:
            tensors[f"{name}.{how}"] = tensors[name]
        elif action % 4 == 2:
            tensors[name] = np.zeros(
                ((), (0,), (1, 2, 3), (5,), (3, 4))[how % 5], ("f4", "i8", "?", "f8")[how % 4]
            )
        else:
            tensors[name] = np.full_like(tensors[name], (0, 1, 100)[how % 3])
    return tensors


@target
def model_skops(folder):
    """The schema within a skops file."""
    clips = pd.DataFrame({"system": list("abc"), "prompt": list("xyz")}, index=list("123"))
    X = pd.DataFrame(np.eye(3), index=list("123"))
    model = ms.LookupRegressor(clips["system"]).fit(X, pd.Series([1.0, 2, 3], index=list("123")))
    seeds = []
    for number, one in enumerate((Ridge().fit(np.eye(3), np.arange(3)), model)):
        with zipfile.ZipFile(save_model(one, folder / f"{number}.skops")) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        seeds.append(bytes([number]) + parts["schema.json"])

    def read(data):
        whole = zipfile.ZipFile(folder / f"{data[0] % 2 if data else 0}.skops")
        with whole, zipfile.ZipFile(folder / "file.skops", "w") as file:
            for name in whole.namelist():
                file.writestr(name, data[1:] if name == "schema.json" else whole.read(name))
        return ms.load_model(folder / "file.skops")

    return Target(read, seeds)


@target
def training_state(folder):
    """The checkpoint of a fine-tuning fit: content and arrays, whose checksum is made anew."""
    _imported("torch")
    from musiceval_sk.finetuning.checkpoint import Checkpoint

    options = {"checkpoint": folder / "file.state", "max_iter": 1}
    regressor = ms.CLAPFineTuneRegressor("hf-clap", **options)
    Checkpoint(regressor, "cpu", y=[1, 2]).begin(0, np.zeros((2, 3)))
    content, tensors = read_tensors(folder / "file.state", "musiceval-finetune-checkpoint")

    def read(data):
        text, _, steps = data.partition(b"\0")
        _write_signed(folder / "file.state", "musiceval-finetune-checkpoint", text, _damaged(tensors, steps))
        return Checkpoint(regressor, "cpu", y=[1, 2])

    return Target(read, [json.dumps(content).encode() + b"\0"])


@target
def clap_weights(folder):
    """A checkpoint in LAION's layout: names, shapes and types of weights; or the bytes of one."""
    torch = _imported("torch")
    from musiceval_sk.features.encoders.clap import checkpoint as disk

    shapes = {disk._PATCHES: [96, 1, 4, 4], disk._WORDS: [273, 768]}
    shapes |= dict(zip(disk._FILTERS, ([513, 1, 1024], [513, 1, 1024], [513, 64]), strict=True))
    shapes["audio_branch.layers.0.blocks.0.norm1.weight"] = [96]
    shapes["text_branch.encoder.layer.0.output.dense.weight"] = [8, 8]
    torch.save({"state_dict": {"module.x": torch.zeros(2)}}, folder / "whole.pt")

    def read(data):
        path = folder / "file.pt"
        if data[:1] == b"\1":
            path.write_bytes(data[1:])
        else:
            try:
                described = json.loads(data[1:])
                weights = {name: torch.zeros(1).expand(shape) for name, shape in described.items()}
            except Exception:  # which makes no file
                return None
            torch.save({"state_dict": weights}, path)
        weights, filters, config = disk.read_laion(path)
        return disk.transformers_names(weights)

    return Target(read, [b"\0" + json.dumps(shapes).encode(), b"\1" + (folder / "whole.pt").read_bytes()])


@target
def clap_settings(folder):
    """The settings of a CLAP in transformers' layout."""
    from musiceval_sk.features.encoders.clap.checkpoint import read_config, read_front_end

    names = ("config.json", "preprocessor_config.json")
    tower = {"hidden_size": 64, "num_mel_bins": 64}
    config = {"model_type": "clap", "audio_config": tower, "text_config": tower, "projection_dim": 32}
    front = {
        "sampling_rate": 48000,
        "feature_size": 64,
        "max_length_s": 10,
        "frequency_min": 50,
        "fft_window_size": 1024,
    }
    contents = json.dumps(config).encode(), json.dumps(front).encode()

    def read(data):
        for number, (name, content) in enumerate(zip(names, contents, strict=True)):
            (folder / name).write_bytes(data[1:] if data and data[0] % 2 == number else content)
        read_config(folder / names[0])
        return read_front_end((folder / "model.safetensors", *(folder / name for name in names)))

    return Target(read, _numbered(*contents))


@target
def audio_model_settings(folder):
    """The settings of an audio model in transformers' layout."""
    from musiceval_sk.features.encoders.hf_audio import HfAudioEncoder

    names = ("config.json", "preprocessor_config.json", "model.safetensors.index.json")
    contents = (
        json.dumps({"model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 3}).encode(),
        json.dumps(
            {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "feature_size": 1}
        ).encode(),
        json.dumps({"weight_map": {"a": "model.safetensors"}}).encode(),
    )
    (folder / "model.safetensors").write_bytes(b"x")

    def read(data):
        for number, (name, content) in enumerate(zip(names, contents, strict=True)):
            (folder / name).write_bytes(data[1:] if data and data[0] % 3 == number else content)
        encoder = HfAudioEncoder(folder, layer="mean")
        return encoder.describe("audio"), encoder.audio_dim, encoder.sample_rate

    return Target(read, _numbered(*contents))


@target
def muq_settings(folder):
    """The settings of MuQ, and of MuQ-MuLan, of which they name the parts."""
    from musiceval_sk.features.encoders.muq.encoder import MuQEncoder

    alone = {"encoder_dim": 32, "encoder_depth": 2}
    parts = {
        f"{tower}_{what}": {"name": f"OpenMuQ/{tower}"}
        for tower in ("audio", "text")
        for what in ("model", "transformer")
    }
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "audio").mkdir()
    (folder / "audio" / "config.json").write_text(json.dumps(alone))

    def read(data):
        (folder / "config.json").write_bytes(data)
        encoder = MuQEncoder(folder)
        return encoder.describe("audio"), encoder.modalities, encoder.text_dim

    whole = {"mulan": {"clip_secs": 10, "dim_latent": 16}, **parts}
    return Target(read, [json.dumps(alone).encode(), json.dumps(whole).encode()])


@target
def tokenizer(folder):
    """RoBERTa's tokenizer in two files or one."""
    _imported("tokenizers")
    from musiceval_sk.features.encoders.clap.checkpoint import find_tokenizer, load_tokenizer, tokenize
    from tests.clap_files import VOCAB_SIZE, write_roberta_tokenizer

    write_roberta_tokenizer(folder / "whole")
    two = find_tokenizer(folder / "whole", ())
    load_tokenizer(two, VOCAB_SIZE, "hf-clap", "hf").save(str(folder / "tokenizer.json"))
    contents = [path.read_bytes() for path in two] + [(folder / "tokenizer.json").read_bytes()]

    def read(data):
        number = data[0] % 3 if data else 0
        for name, content in zip(("file.vocab", "file.merges"), contents, strict=False):
            (folder / name).write_bytes(content)
        name = ("file.vocab", "file.merges", "file.json")[number]
        (folder / name).write_bytes(data[1:])
        files = (folder / name,) if number == 2 else (folder / "file.vocab", folder / "file.merges")
        return tokenize(load_tokenizer(files, VOCAB_SIZE, "hf-clap", "hf"), ["calm piano", ""])

    return Target(read, _numbered(*contents))


_SOUNDS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64")


@target
def sound(folder):
    seeds = []
    for kind in _SOUNDS:
        file = io.BytesIO()
        samples = np.random.default_rng(0).uniform(-0.1, 0.1, 2000 if kind != "MP3" else 4000)
        soundfile.write(file, samples, 8000, format=kind)
        seeds.append(b"\0" + file.getvalue())
    read = functools.partial(ms.read_audio, sample_rate=8000)
    return Target(_of_names(folder, read, (".wav",)), seeds)


def _imported(name):
    import importlib

    return importlib.import_module(name)


def made(name: str, folder: Path) -> Target:
    """Make a target, and read what it begins from once, so that what is imported late is there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = TARGETS[name](folder)
    for seed in found.seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found.read(seed)
            except OURS + found.documented as error:
                print(f"{name}: a seed is refused: {error}", file=sys.stderr)
    return found
