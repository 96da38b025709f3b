"""The whole pipeline: a made data set in MusicEval's layout, a small CLAP, `reproduce`, and the same by other means."""

import dataclasses
import functools
import importlib.util
import itertools
import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
import torch
from scipy import stats
from sklearn.model_selection import ShuffleSplit
from typer.testing import CliRunner

from musiceval_sk import METRICS, MOSRegressor, get_encoder, reproduce
from musiceval_sk.cli.app import app
from musiceval_sk.estimators.engine.jobs import rehearse
from musiceval_sk.reproduction.protocols import PROTOCOLS
from musiceval_sk.reproduction.result import ReproductionResult
from tests.clap_files import write_clap_checkpoint, write_roberta_tokenizer, write_transformers_folder
from tests.made_musiceval import make_musiceval

TARGETS = ["impression", "alignment"]
LENGTH = 480_000
SEEDS = 2
# So small a data set has few systems in its test list.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*systems:musiceval_sk.exceptions.FewSystemsWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def short_protocols():
    """Of the protocols that differ in momentum, the one without would train for all its 1,000 epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "paper", dataclasses.replace(PROTOCOLS["paper"], max_iter=60))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_musiceval(
        tmp_path_factory.mktemp("made") / "MusicEval-full", n_systems=3, n_prompts=5, n_demo_clips=2
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of LAION's layout where its package is there to write one, else a folder of transformers'."""
    folder = tmp_path_factory.mktemp("clap")
    if importlib.util.find_spec("laion_clap") is None:
        return write_transformers_folder(folder)
    write_roberta_tokenizer(folder / "roberta-base")
    return write_clap_checkpoint(folder / "tiny.pt", depths=[1, 1, 1, 1])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache") / "embeddings.h5"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def from_cli(made, checkpoint, cache, tmp_path_factory):
    """Both protocols by the command line: what it printed, and what it wrote."""
    found = {}
    for protocol in ("paper", "released"):
        out = tmp_path_factory.mktemp(protocol)
        options = ("--encoder", "hf-clap", "--seeds", SEEDS, "--resamples", 60, "--any-size")
        result = run(
            *("reproduce", made.folder, "--checkpoint", checkpoint, "--protocol", protocol),
            *(*options, "--cache", cache, "--out", out, "--device", "cpu"),
        )
        assert result.exit_code == 0, result.output
        found[protocol] = (result.stdout, out)
    return found


@pytest.fixture(scope="module", params=["paper", "released"])
def one(request, from_cli):
    return ReproductionResult.from_json(from_cli[request.param][1] / "reproduction.json")


def protocol_of(result):
    return result.about["protocol"]["name"]


def official(made, name):
    """Read a list by hand: clip, impression, alignment."""
    lines = (made.folder / "sets" / f"{name}_mos_list.txt").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    return pd.DataFrame(
        [[float(a), float(b)] for _, a, b in rows],
        index=[name.removesuffix(".wav") for name, _, _ in rows],
        columns=TARGETS,
    )


def parts_by_hand(made, protocol):
    """Training, development (or None) and test clips, read from the lists without the library."""
    if protocol == "released":
        return [official(made, name) for name in ("train", "dev", "test")]
    every = official(made, "total").sort_index()
    [(train, test)] = ShuffleSplit(1, test_size=0.15, random_state=0).split(every)
    return [every.iloc[train], None, every.iloc[test]]


def systems_by_hand(clips):
    return [clip.split("-")[-1].split("_")[0] for clip in clips]


def test_python_gives_what_the_command_line_wrote(one, made, checkpoint, cache):
    again = reproduce(
        made.folder,
        protocol_of(one),
        encoder="hf-clap",
        encoder_options={"checkpoint": checkpoint, "device": "cpu"},
        cache=cache,
        n_seeds=SEEDS,
        n_resamples=60,
        n_jobs=2,
        device="cpu",
        counts=None,
    )
    pd.testing.assert_frame_equal(again.table, one.table, check_dtype=False)
    pd.testing.assert_frame_equal(again.predictions, one.predictions)
    assert {**again.about, "made": ""} == {**one.about, "made": ""}


def test_the_table_has_all_rows_in_order(one):
    name = protocol_of(one)
    kinds = one.table.drop_duplicates(["target", "row"]).groupby("target")["kind"].apply(list)
    assert kinds["impression"] == ["published"] * 6 + ["look-up"] * 3 + ["seed"] * 2 + ["ours"]
    rows = one.scores("alignment").index.tolist()
    assert rows[:2] == ["paper, Table I", "released README, dev"]
    assert rows[-6:] == [
        *("global mean", "system mean", "prompt mean", "seed 0", "seed 1"),
        f"{name}, mean of 2 seeds",
    ]
    assert one.scores("impression").loc["paper, Table I"].tolist() == [
        *(0.647, 0.606, 0.633, 0.461, 0.446, 0.839, 0.926, 0.767)
    ]
    assert one.scores("alignment")["S_SRCC"]["challenge baseline, test"] == 0.724
    measured = one.table[one.table["kind"].isin(["seed", "ours"])]
    assert len(measured) == 2 * 3 * 8 and measured["value"].notna().all()
    published = one.table[one.table["kind"] == "published"]
    assert published["low"].isna().all() and published["source"].str.len().gt(20).all()


def test_the_clips_are_those_of_the_protocol(one, made):
    train, development, test = parts_by_hand(made, protocol_of(one))
    clips = one.predictions[one.predictions["row"] == "seed 0"]
    for target in TARGETS:
        mine = clips[clips["target"] == target].set_index("clip_id")["truth"]
        assert sorted(mine.index) == sorted(test.index)
        np.testing.assert_allclose(mine, test[target][mine.index])
    split = one.about["split"]
    assert (split["train"], split["test"]) == (len(train), len(test))
    by = (
        "a tenth of the training clips"
        if development is None
        else f"{len(development)} clips of the dev list"
    )
    assert split["stopped_by"].startswith(by)


def metrics_by_scipy(truth, said, systems, system_truth):
    frame = pd.DataFrame({"truth": truth, "said": said, "system": systems})
    of_systems = frame.groupby("system")[["truth", "said"]].mean()
    if system_truth is not None:
        of_systems["truth"] = system_truth[of_systems.index]
    scores = {}
    for level, table in (("U", frame), ("S", of_systems)):
        pair = table["truth"], table["said"]
        scores[f"{level}_MSE"] = ((pair[0] - pair[1]) ** 2).mean()
        for name, function in (
            ("LCC", stats.pearsonr),
            ("SRCC", stats.spearmanr),
            ("KTAU", stats.kendalltau),
        ):
            scores[f"{level}_{name}"] = function(*pair)[0]
    return scores


def test_the_numbers_are_scipys(one, made):
    table = None
    if protocol_of(one) == "released":
        [path] = (made.folder / "system_mos").iterdir()
        table = pd.read_csv(path, header=None, index_col=0, names=TARGETS)
    for target in TARGETS:
        by_seed = []
        for row in ("system mean", "prompt mean", "seed 0", "seed 1"):
            chosen = (one.predictions["row"] == row) & (one.predictions["target"] == target)
            found = one.predictions[chosen]
            expected = metrics_by_scipy(
                *(found["truth"], found["prediction"], systems_by_hand(found["clip_id"])),
                None if table is None else table[target],
            )
            np.testing.assert_allclose(
                one.scores(target).loc[row],
                [expected[name] for name in METRICS],
                rtol=1e-9,
                atol=1e-9,
                err_msg=row,
            )
            if row.startswith("seed"):
                by_seed.append([expected[name] for name in METRICS])
        ours = one.table[(one.table["kind"] == "ours") & (one.table["target"] == target)]
        np.testing.assert_allclose(ours["value"], np.mean(by_seed, axis=0))
        np.testing.assert_allclose(ours["least_of_seeds"], np.min(by_seed, axis=0))
        np.testing.assert_allclose(ours["most_of_seeds"], np.max(by_seed, axis=0))


def test_look_ups_learn_from_the_training_clips_alone(one, made):
    train, _, test = parts_by_hand(made, protocol_of(one))
    means = train.groupby(systems_by_hand(train.index)).mean()
    for target in TARGETS:
        found = one.predictions[one.predictions["target"] == target]
        flat = found[found["row"] == "global mean"]["prediction"]
        np.testing.assert_allclose(flat, train[target].mean())
        known = found[found["row"] == "system mean"].set_index("clip_id")["prediction"]
        assert set(known.index) == set(test.index)
        expected = means[target].reindex(systems_by_hand(known.index)).fillna(train[target].mean())
        np.testing.assert_allclose(known, expected)


def windows_by_hand(path, protocol, in_training):
    """What CLAP hears of one file, (n, 480_000), by soundfile and numpy."""
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000 and samples.ndim == 1
    if protocol == "paper":
        samples = soxr.resample(samples, 16_000, 48_000, quality="HQ")
    samples = samples[:LENGTH]
    if protocol == "released" and in_training:
        return np.concatenate([samples, np.zeros(LENGTH - len(samples), "float32")])[None]
    repeats = LENGTH // len(samples)
    return np.concatenate([*[samples] * repeats, np.zeros(LENGTH - repeats * len(samples), "float32")])[None]


def prompts_by_hand(made):
    """Text of each clip: of demo systems by its own name, of others by the prompt's number."""
    read = {}
    for name in ("prompt_info.txt", "demo_prompt_info.txt"):
        lines = (made.folder / name).read_text().splitlines()[1:]
        read |= dict(line.split("\t") for line in lines)
    return lambda clip: read.get(f"{clip}.wav") or read[clip.split("_")[-1]]


def vectors_by_hand(made, encoder, protocol, clips, in_training):
    """Audio and text side by side, one clip after another, through an encoder that knows of no protocol."""
    prompt = prompts_by_hand(made)
    network = encoder.build()
    log_mel = network.log_mel
    network.log_mel = functools.partial(log_mel, quantise=protocol != "released")
    rows = []
    for clip in clips:
        windows = windows_by_hand(made.folder / "wav" / f"{clip}.wav", protocol, in_training)
        rows.append(
            np.concatenate([encoder.encode_audio(windows)[0], encoder.encode_text([prompt(clip)])[0]])
        )
    network.log_mel = log_mel
    assert not network.training
    return np.stack(rows)


def seen(task):
    return slice(None) if task.columns is None else task.columns


def train_by_hand(X, y, X_dev, y_dev, tasks, activation, momentum, together, epochs):
    """Two heads in plain torch: patience 20 on the development loss, together or each alone; their weights at best."""
    heads = []
    for task in tasks:
        generator = torch.Generator().manual_seed(task.init_seed)
        layers = []
        sizes = (X[:, seen(task)].shape[1], 256, 64, 1)
        for below, above in itertools.pairwise(sizes):
            linear = torch.nn.Linear(below, above)
            for parameter in linear.parameters():
                torch.nn.init.uniform_(parameter, -(below**-0.5), below**-0.5, generator=generator)
            layers += [linear, activation()]
        network = torch.nn.Sequential(*layers[:-1])
        optimiser = torch.optim.SGD(network.parameters(), lr=5e-4, momentum=momentum)
        order = torch.Generator().manual_seed(task.order_seed)
        heads.append({"net": network, "opt": optimiser, "order": order, "best": np.inf, "since": 0})
    for _ in range(epochs):
        losses = []
        for head, task in zip(heads, tasks, strict=True):
            if head["since"] < 20:
                shuffled = torch.from_numpy(task.rows)[
                    torch.randperm(len(task.rows), generator=head["order"])
                ]
                for batch in shuffled.split(64):
                    head["opt"].zero_grad()
                    said = head["net"](X[batch][:, seen(task)])
                    torch.nn.functional.l1_loss(said, y[batch][:, [task.target]]).backward()
                    head["opt"].step()
            with torch.no_grad():
                said = head["net"](X_dev(task)[:, seen(task)])
                losses.append(torch.nn.functional.l1_loss(said, y_dev(task)[:, [task.target]]).item())
        for head, loss in zip(heads, [sum(losses)] * 2 if together else losses, strict=True):
            if head["since"] >= 20:
                continue
            head["since"] += 1
            if loss < head["best"]:
                weights = {name: value.clone() for name, value in head["net"].state_dict().items()}
                head.update(best=loss, since=0, weights=weights)
    for head in heads:
        head["net"].load_state_dict(head["weights"])
    return [head["net"] for head in heads]


def test_the_heads_predict_what_a_plain_loop_does(one, made, checkpoint):
    """Own windows, own loop; only the encoder's network and the seeds' meaning are the library's."""
    protocol = protocol_of(one)
    released = protocol == "released"
    encoder = get_encoder("hf-clap", checkpoint=checkpoint, device="cpu")
    train, development, test = parts_by_hand(made, protocol)
    learning = train if development is None else pd.concat([train, development])
    vectors = vectors_by_hand(made, encoder, protocol, learning.index, in_training=True)
    tested = vectors_by_hand(made, encoder, protocol, test.index, in_training=False)
    X, y = torch.from_numpy(vectors), torch.tensor(learning.to_numpy(), dtype=torch.float32)
    dim = vectors.shape[1] // 2
    names = [f"audio_{i}" for i in range(dim)] + [f"text_{i}" for i in range(dim)]
    table = pd.DataFrame(vectors, index=learning.index, columns=names)
    # The seeds of weights and order, and which rows are held out, are as MOSRegressor draws them.
    regressor = MOSRegressor.from_protocol("released" if released else "paper", random_state=0)
    given = {} if development is None else {"X_val": table.loc[development.index], "y_val": development}
    job = rehearse(lambda: regressor.fit(table.loc[train.index], train, **given))
    inputs, targets = (
        torch.from_numpy(np.ascontiguousarray(part)).float() for part in (job.inputs, job.targets)
    )
    torch.testing.assert_close(inputs[: len(train)], X[: len(train)], atol=0, rtol=0)
    if released:
        development_of = (X[len(train) :], y[len(train) :])
        X_dev, y_dev = (lambda part: lambda task: part)(development_of[0]), lambda task: development_of[1]
    else:
        X_dev, y_dev = lambda task: inputs[task.validation_rows], lambda task: targets[task.validation_rows]
    activation = torch.nn.Identity if released else torch.nn.ReLU
    nets = train_by_hand(
        *(inputs, targets, X_dev, y_dev, job.tasks, activation),
        *(0.9 if released else 0.0, released, PROTOCOLS[protocol].max_iter),
    )
    for net, task, target in zip(nets, job.tasks, TARGETS, strict=True):
        chosen = (one.predictions["row"] == "seed 0") & (one.predictions["target"] == target)
        found = one.predictions[chosen].set_index("clip_id")["prediction"]
        assert tested[:, seen(task)].shape[1] == (dim if target == "impression" else 2 * dim)
        with torch.no_grad():
            expected = net(torch.from_numpy(tested[:, seen(task)])).numpy()[:, 0]
        np.testing.assert_allclose(found[test.index], expected, atol=2e-4, rtol=0)


def test_what_is_printed_names_what_it_rests_on(from_cli, made, checkpoint):
    for protocol, (printed, out) in from_cli.items():
        about = json.loads((out / "reproduction.json").read_text())["about"]
        assert printed.startswith(
            f"MusicEval, protocol '{protocol}': FROZEN CLAP, NOT THE PAPER'S FINE-TUNED TOWERS"
        )
        digest = about["encoders"][next(iter(about["encoders"]))]["audio"]["checkpoint_sha256"]
        assert len(digest) == 64 and digest in printed
        assert "Seeds 0 to 1; best epochs " in printed and "range over seeds, from" in printed
        for deviation in PROTOCOLS[protocol].deviations:
            assert f"  - {deviation}" in printed
        assert f"torch {torch.__version__}" in printed and "paper, Table I" in printed
        assert about["seeds"] == [0, 1] and about["intervals"]["resamples"] == 60
        assert len(pd.read_csv(out / "predictions.csv")) == 2 * 5 * about["split"]["test"]
        written = pd.read_csv(out / "reproduction.csv")
        assert len(written) == 40 + 2 * 6 * 8  # published figures; targets, rows and metrics of this run
    heard = {
        protocol: json.loads((out / "reproduction.json").read_text())["about"]
        for protocol, (_, out) in from_cli.items()
    }
    released = heard["released"]["encoders"]
    assert (released["training"]["audio"]["sound"], released["test"]["audio"]["sound"]) == (
        "16k-padded",
        "16k-repeated",
    )
    assert list(heard["paper"]["encoders"]) == ["training and test"]
    assert "sound" not in heard["paper"]["encoders"]["training and test"]["audio"]
