import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
import tqdm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, ShuffleSplit, cross_val_score
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musiceval_sk import MOSRegressor
from musiceval_sk.estimators.engine import jobs as _jobs

# The made data are no scores and keep to no scale.
QUICK = {
    "hidden_layer_sizes": (8, 4),
    "learning_rate_init": 0.02,
    "n_iter_no_change": 5,
    "scale": None,
    "random_state": 0,
}


def quick(**parameters):
    return MOSRegressor.from_protocol("paper", **QUICK | parameters)


@pytest.fixture
def X():
    names = [f"audio_{i}" for i in range(4)] + [f"text_{i}" for i in range(3)]
    return pd.DataFrame(np.random.default_rng(0).normal(size=(90, 7)), columns=names)


@pytest.fixture
def Y(X):
    return pd.DataFrame(
        {"impression": 3 + X["audio_0"] - X["audio_1"], "alignment": 2 + X["audio_2"] * X["text_0"]}
    )


@pytest.fixture
def seen_jobs(monkeypatch):
    """Note every training job on its way to the engine."""
    jobs = []
    train_job = _jobs.train_job

    def note(job, on_epoch):
        jobs.append(job)
        return train_job(job, on_epoch)

    monkeypatch.setattr(_jobs, "train_job", note)
    return jobs


def reopened(regressor):
    return pickle.loads(pickle.dumps(regressor))


def same_bits(one, other):
    return all(
        np.array_equal(a, b)
        for name in ("coefs_", "intercepts_")
        for heads in zip(getattr(one, name), getattr(other, name), strict=True)
        for a, b in zip(*heads, strict=True)
    )


def test_parameters_that_mlpregressor_has_are_called_the_same():
    own = {
        "head_inputs",
        "scale",
        "n_bins",
        "bin_sigma",
        "rank_weight",
        "rank_margin",
        "rank_quality",
        "stop_together",
        "standardize",
        "linear",
        "hold_out",
        "averaging",
    }
    own |= {"n_ensemble", "bootstrap", "clip", "device", "dtype"}
    assert set(MOSRegressor().get_params()) - own <= set(MLPRegressor().get_params())


def test_the_paper_is_a_protocol():
    defaults = MOSRegressor.from_protocol("paper").get_params()
    expected = {"standardize": False, "linear": None, "n_ensemble": 1, "averaging": 0.0, "hold_out": "random"}
    expected |= {"hidden_layer_sizes": (256, 64), "loss": "l1", "batch_size": 64, "learning_rate_init": 5e-4}
    expected |= {"momentum": 0.9, "max_iter": 1000, "n_iter_no_change": 20, "early_stopping": True}
    assert {name: defaults[name] for name in expected} == expected


def test_learns_what_is_there(X, Y):
    regressor = quick(hidden_layer_sizes=(32, 16), n_iter_no_change=20).fit(X, Y["impression"])
    assert regressor.score(X, Y["impression"]) > 0.9


def test_identity_without_hidden_layers_is_least_squares(X, Y):
    least_squares = quick(
        hidden_layer_sizes=(),
        loss="mse",
        batch_size=90,
        early_stopping=False,
        head_inputs="all",
        dtype="float64",
        learning_rate_init=0.1,
        momentum=0.5,
        max_iter=1000,
    ).fit(X, Y)
    expected = LinearRegression().fit(X, Y)
    np.testing.assert_allclose(least_squares.predict(X), expected.predict(X), atol=1e-5)
    np.testing.assert_allclose([w[0][0, :, 0] for w in least_squares.coefs_], expected.coef_, atol=1e-5)


def test_one_target(X, Y):
    regressor = quick().fit(X, Y["impression"])
    assert regressor.target_names_ == ["impression"]
    assert regressor.predict(X).shape == (90,)
    assert regressor.predict(X).dtype == np.float64
    # Four audio columns, layers of 8 and 4, one output; one member.
    assert [weights.shape for weights in regressor.coefs_[0]] == [(1, 4, 8), (1, 8, 4), (1, 4, 1)]
    assert [biases.shape for biases in regressor.intercepts_[0]] == [(1, 8), (1, 4), (1, 1)]


def test_a_column_stays_a_column(X, Y):
    column = quick().fit(X, Y[["impression"]])
    assert column.target_names_ == ["impression"]
    assert column.predict(X).shape == (90, 1)
    assert np.array_equal(column.predict(X)[:, 0], quick().fit(X, Y["impression"]).predict(X))


def test_two_targets(X, Y):
    regressor = quick(n_ensemble=3).fit(X, Y)
    assert regressor.target_names_ == ["impression", "alignment"]
    assert regressor.predict(X).shape == (90, 2)
    assert regressor.best_iteration_.shape == (2, 3)
    assert [weights[0].shape for weights in regressor.coefs_] == [(3, 4, 8), (3, 7, 8)]


def test_targets_without_names(X, Y):
    assert quick().fit(X, Y.to_numpy()).target_names_ == ["target_0", "target_1"]
    assert quick().fit(X, Y["impression"].to_numpy()).target_names_ == ["target_0"]


def test_predictions_by_hand(X, Y):
    regressor = quick(n_ensemble=2).fit(X, Y["alignment"])
    members = []
    for m in range(2):
        hidden = X.to_numpy()
        for i in range(3):
            hidden = hidden @ regressor.coefs_[0][i][m] + regressor.intercepts_[0][i][m]
            hidden = np.where(hidden > 0, hidden, 0) if i < 2 else hidden
        members.append(hidden[:, 0])
    mean, std = regressor.predict(X, return_std=True)
    np.testing.assert_allclose(mean, (members[0] + members[1]) / 2, rtol=1e-12)
    np.testing.assert_allclose(std, np.abs(members[0] - members[1]) / 2, rtol=1e-9, atol=1e-12)
    assert np.array_equal(regressor.predict(X), mean)
    assert std.min() > 0


def test_return_std_of_two_targets_and_of_none(X, Y):
    mean, std = quick(n_ensemble=2).fit(X, Y).predict(X, return_std=True)
    assert mean.shape == std.shape == (90, 2)
    with pytest.raises(ValueError, match="return_std needs an ensemble, but n_ensemble=1"):
        quick().fit(X, Y).predict(X, return_std=True)


def test_impression_hears_and_alignment_reads_too(X, Y):
    regressor = quick().fit(X, Y)
    assert [columns.tolist() for columns in regressor.head_columns_] == [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]]
    reworded = X.assign(text_0=0.0, text_1=9.0)
    assert np.array_equal(regressor.predict(reworded)[:, 0], regressor.predict(X)[:, 0])
    assert not np.allclose(regressor.predict(reworded)[:, 1], regressor.predict(X)[:, 1])


@pytest.mark.parametrize(
    ("head_inputs", "expected"),
    [
        ("text", [[4, 5, 6], [4, 5, 6]]),
        (slice(0, 2), [[0, 1], [0, 1]]),
        ([6, 0], [[0, 6], [0, 6]]),
        (lambda names: names == "audio_3", [[3], [3]]),
        ({"impression": "all", "alignment": slice(4, None)}, [[0, 1, 2, 3, 4, 5, 6], [4, 5, 6]]),
    ],
)
def test_head_inputs(X, Y, head_inputs, expected):
    regressor = quick(head_inputs=head_inputs).fit(X, Y)
    assert [columns.tolist() for columns in regressor.head_columns_] == expected
    blind = X.copy()
    blind.iloc[:, sorted(set(range(7)) - set(expected[0]) - set(expected[1]))] = 0.0
    assert np.array_equal(regressor.predict(blind), regressor.predict(X))


def test_head_inputs_errors_reach_the_user(X, Y):
    with pytest.raises(
        ValueError, match="unknown target of head_inputs 'loudness'; choose from impression, alignment"
    ):
        quick(head_inputs={"loudness": "all"}).fit(X, Y)
    with pytest.raises(ValueError, match="goes by column names, but X has none"):
        quick(head_inputs="audio").fit(X.to_numpy(), Y)


def test_early_stopping_holds_out_the_share_of_rows(X, Y, seen_jobs):
    quick(validation_fraction=0.25).fit(X, Y["impression"])
    (task,) = seen_jobs[0].tasks
    # A quarter of 90 is 22.5, rounded up.
    assert (len(task.rows), len(task.validation_rows)) == (67, 23)
    assert sorted([*task.rows, *task.validation_rows]) == list(range(90))
    # Places are drawn among the rows in the order of their values as big-endian bytes.
    values = np.column_stack([X, Y["impression"]]).astype(">f8")
    ordered = np.array(sorted(range(90), key=lambda i: values[i].tobytes()))
    drawn = next(ShuffleSplit(1, test_size=23, random_state=0).split(X))[1]
    assert task.validation_rows.tolist() == ordered[np.sort(drawn)].tolist()


@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_early_stopping_keeps_groups_whole(X, Y, seen_jobs):
    systems = np.repeat([f"S{i:02d}" for i in range(15)], 6)
    for seed in range(5):
        quick(random_state=seed, max_iter=200).fit(X, Y, groups=pd.Series(systems))
    for job in seen_jobs:
        for task in job.tasks:
            learned, judged = set(systems[task.rows]), set(systems[task.validation_rows])
            assert not learned & judged
            # A tenth of 15 systems is 1.5, rounded up: two systems of six clips.
            assert (len(judged), len(task.validation_rows)) == (2, 12)
            assert sorted([*task.rows, *task.validation_rows]) == list(range(90))
    # Five seeds, each one job for both heads.
    assert len(seen_jobs) == 5
    assert len({job.tasks[0].validation_rows.tobytes() for job in seen_jobs}) > 1


@pytest.mark.filterwarnings("ignore:early stopping goes by")
def test_held_out_loss_is_that_of_the_held_out_group(X, Y):
    systems = np.repeat(np.arange(15), 6)
    regressor = quick(dtype="float64").fit(X, Y["impression"], groups=systems)
    _, judged = next(GroupShuffleSplit(1, test_size=2, random_state=0).split(X, groups=systems))
    loss = np.abs(regressor.predict(X.iloc[judged]) - Y["impression"].iloc[judged]).mean()
    assert regressor.best_iteration_.item() == 1 + int(np.argmax(regressor.validation_scores_))
    assert max(regressor.validation_scores_) == pytest.approx(-loss, abs=1e-12)
    assert regressor.n_iter_ == len(regressor.loss_curve_) == regressor.best_iteration_.item() + 5


def test_without_early_stopping_all_rows_are_learned(X, Y, seen_jobs):
    regressor = quick(early_stopping=False, max_iter=300).fit(X, Y["impression"], groups=np.zeros(90))
    assert sorted(seen_jobs[0].tasks[0].rows) == list(range(90))
    assert len(seen_jobs[0].tasks[0].validation_rows) == 0
    assert regressor.validation_scores_ is None
    assert regressor.best_iteration_.item() == 1 + int(np.argmin(regressor.loss_curve_))


def test_groups_errors(X, Y):
    with pytest.raises(ValueError, match=r"groups has shape \(3,\); expected \(90,\), one group a row of X"):
        quick().fit(X, Y, groups=["a", "b", "c"])
    for missing in (None, np.nan, pd.NA):
        with pytest.raises(ValueError, match="groups .* has None, nan or an empty text in rows: 3, 89"):
            quick().fit(X, Y, groups=["a", 1, "b", missing, *["c"] * 85, missing])
    with pytest.raises(ValueError, match=r"only 1 group \(90 distinct rows\); set early_stopping=False"):
        quick().fit(X, Y, groups=["a"] * 90)
    with pytest.raises(ValueError, match=r"only 1 sample \(1 distinct row\); set early_stopping=False"):
        quick().fit(X[:1], Y[:1])


def test_random_state_decides_every_bit(X, Y):
    one, again, other = (quick(random_state=seed, n_ensemble=2).fit(X, Y) for seed in (3, 3, 4))
    assert same_bits(one, again)
    assert not same_bits(one, other)
    assert same_bits(one, quick(random_state=np.random.RandomState(3), n_ensemble=2).fit(X, Y))


def test_members_differ_and_share_the_held_out_rows(X, Y, seen_jobs):
    regressor = quick(n_ensemble=3).fit(X, Y["impression"])
    tasks = seen_jobs[0].tasks
    assert len({task.init_seed for task in tasks}) == len({task.order_seed for task in tasks}) == 3
    assert len({task.validation_rows.tobytes() for task in tasks}) == 1
    assert not np.allclose(regressor.coefs_[0][0][0], regressor.coefs_[0][0][1])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("state", [0, None], ids=["seeded", "unseeded"])
def test_global_random_states_are_left_alone(X, Y, state):
    of_torch, of_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    quick(random_state=np.random.RandomState(1) if state is None else state, max_iter=2).fit(X, Y).predict(X)
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert np.random.get_state()[1].tolist() == of_numpy
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_module_equals_predict(X, Y, activation):
    regressor = quick(n_ensemble=2, activation=activation).fit(X, Y)
    with torch.no_grad():
        outputs = regressor.module_(torch.tensor(X.to_numpy()))
    np.testing.assert_allclose(outputs.numpy(), regressor.predict(X), rtol=1e-12)


def test_module_is_a_trainable_copy(X, Y):
    regressor = quick().fit(X, Y["impression"])
    before = regressor.predict(X)
    module = regressor.module_
    module(torch.tensor(X.to_numpy())).sum().backward()
    # Four columns by 8, 8 by 4, 4 by 1, and the biases.
    assert sum(parameter.grad.numel() for parameter in module.parameters()) == 32 + 8 + 32 + 4 + 4 + 1
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert np.array_equal(regressor.predict(X), before)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_goes_on(X, Y):
    # Without momentum and shuffling, ten epochs and ten more are twenty.
    plain = {"momentum": 0.0, "shuffle": False, "early_stopping": False, "dtype": "float64"}
    warm = quick(**plain, warm_start=True, max_iter=10, n_ensemble=2).fit(X, Y).fit(X, Y)
    whole = quick(**plain, max_iter=20, n_ensemble=2).fit(X, Y)
    np.testing.assert_allclose(warm.predict(X), whole.predict(X), rtol=1e-10)
    cold = quick(**plain, max_iter=10, n_ensemble=2).fit(X, Y).fit(X, Y)
    assert not np.allclose(cold.predict(X), whole.predict(X), rtol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_refuses_another_shape(X, Y):
    regressor = quick(warm_start=True, max_iter=2).fit(X, Y)
    for changed in ({"hidden_layer_sizes": (8, 5)}, {"n_ensemble": 2}):
        with pytest.raises(ValueError, match="warm_start cannot go on: the fitted heads have layers"):
            reopened(regressor).set_params(**changed).fit(X, Y)
    with pytest.raises(ValueError, match="warm_start cannot go on"):
        regressor.fit(X, Y["impression"])


def test_pickle_and_joblib(X, Y, tmp_path):
    regressor = quick(n_ensemble=2).fit(X, Y)
    joblib.dump(regressor, tmp_path / "regressor.joblib")
    for copy in (reopened(regressor), joblib.load(tmp_path / "regressor.joblib")):
        assert np.array_equal(copy.predict(X), regressor.predict(X))
        assert same_bits(copy, regressor)
    # Weights are held as arrays, so that a pickle made beside a GPU opens without one.
    assert b"torch" not in pickle.dumps(regressor)


def test_clone_and_parameters(X, Y):
    regressor = quick(head_inputs={"impression": "audio"}).fit(X, Y)
    copy = clone(regressor)
    assert copy.get_params() == regressor.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(X)
    assert copy.set_params(loss="mse", max_iter=7).get_params()["max_iter"] == 7
    assert regressor.loss == "l1"


def test_set_output_does_not_touch_predictions(X, Y):
    bare = make_pipeline(StandardScaler(), quick(head_inputs="all")).fit(X, Y)
    framed = (
        make_pipeline(StandardScaler(), quick(head_inputs="all")).set_output(transform="pandas").fit(X, Y)
    )
    assert isinstance(framed.predict(X), np.ndarray)
    assert np.array_equal(bare.predict(X), framed.predict(X))


def test_grid_written_for_mlpregressor_serves(X, Y):
    grid = {"alpha": [0.0, 0.01], "learning_rate_init": [0.01, 0.05]}
    search = GridSearchCV(quick(), grid, cv=2).fit(X, Y["impression"])
    assert set(search.best_params_) == set(grid)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert cross_val_score(quick(), X, Y, cv=2).shape == (2,)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"activation": "tanh"}, "'activation' .* must be a str among .*'relu'.* Got 'tanh'"),
        ({"loss": "l2"}, "'loss' .* must be a str among .*'soft_bins'.* Got 'l2'"),
        ({"dtype": "float16"}, "'dtype' .* must be a str among .*'float64'.* Got 'float16'"),
        ({"batch_size": 0}, r"'batch_size' .* must be an int in the range \[1, inf\). Got 0"),
        ({"max_iter": "5"}, r"'max_iter' .* must be an int in the range \[1, inf\). Got '5'"),
        ({"max_iter": 2.5}, r"'max_iter' .* must be an int in the range \[1, inf\). Got 2.5"),
        ({"n_iter_no_change": -1}, r"'n_iter_no_change' .* \[1, inf\). Got -1"),
        ({"n_ensemble": None}, r"'n_ensemble' .* \[1, inf\). Got None"),
        ({"hidden_layer_sizes": "8"}, "'hidden_layer_sizes' .* must be an array-like or an int .* Got '8'"),
        ({"hidden_layer_sizes": None}, "'hidden_layer_sizes' .* must be an array-like or an int .* Got None"),
        (
            {"hidden_layer_sizes": (8.5,)},
            r"hidden_layer_sizes=\(8.5,\) must be whole numbers, each at least 1",
        ),
        ({"hidden_layer_sizes": (8, 0)}, r"hidden_layer_sizes=\(8, 0\) must be whole numbers"),
        ({"hidden_layer_sizes": ("8",)}, r"hidden_layer_sizes=\('8',\) must be whole numbers"),
        ({"learning_rate_init": 0.0}, r"'learning_rate_init' .* \(0.0, inf\). Got 0.0"),
        ({"learning_rate_init": np.nan}, r"'learning_rate_init' .* \(0.0, inf\). Got nan"),
        ({"momentum": 1.0}, r"'momentum' .* \[0.0, 1.0\). Got 1.0"),
        ({"momentum": -0.1}, r"'momentum' .* \[0.0, 1.0\). Got -0.1"),
        ({"validation_fraction": 1.0}, r"validation_fraction=1.0 must lie in \(0, 1\)"),
        ({"validation_fraction": "0.1"}, "'validation_fraction' .* Got '0.1'"),
        ({"alpha": -1e-9}, r"'alpha' .* \[0.0, inf\). Got -1e-09"),
        ({"alpha": np.nan}, r"'alpha' .* \[0.0, inf\). Got nan"),
        ({"tol": -0.5}, r"'tol' .* \[0.0, inf\). Got -0.5"),
        ({"rank_weight": -1.0}, r"'rank_weight' .* \[0.0, inf\). Got -1.0"),
        ({"rank_margin": -1.0}, r"'rank_margin' .* \[0.0, inf\). Got -1.0"),
        ({"rank_quality": 0.5}, r"'rank_quality' .* \[1.0, inf\). Got 0.5"),
        ({"n_bins": 1}, r"'n_bins' .* \[2, inf\). Got 1"),
        ({"bin_sigma": 0.0}, r"'bin_sigma' .* \(0.0, inf\). Got 0.0"),
        ({"shuffle": "yes"}, "'shuffle' .* Got 'yes'"),
        ({"device": None}, "'device' .* must be an instance of 'str'. Got None"),
        ({"random_state": "0"}, "'random_state' .* Got '0'"),
        ({"scale": (5, 1)}, r"scale=\(5, 1\) must be two finite numbers, the lower first, or None"),
        ({"scale": (1, 3, 5)}, r"scale=\(1, 3, 5\) must be two finite numbers"),
        ({"scale": ("1", "5")}, r"scale=\('1', '5'\) must be two finite numbers"),
        ({"clip": (1, np.inf)}, r"clip=\(1, inf\) must be two finite numbers"),
        ({"clip": "narrow"}, "clip='narrow' must be two finite numbers"),
        ({"loss": "soft_bins", "scale": None}, "lays its bins over the scale, but scale=None; set it to"),
    ],
)
def test_parameters_out_of_range(X, Y, parameters, words):
    with pytest.raises(ValueError, match=words):
        quick(**parameters).fit(X, Y)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_refit_leaves_the_old_fit_or_none(X, Y, monkeypatch, error):
    def fail(*_):
        raise error("no memory")

    old, new = quick().fit(X, Y["impression"]), quick()
    before = old.predict(X)
    with monkeypatch.context() as patched:
        patched.setattr(_jobs, "train_job", fail)
        for regressor in (old, new):
            with pytest.raises(error, match="no memory"):
                regressor.fit(X, Y["impression"])
            with pytest.raises(ValueError, match="groups"):
                regressor.fit(X.iloc[:, :2], Y, groups=[None] * 90)
    assert old.target_names_ == ["impression"] and np.array_equal(old.predict(X), before)
    with pytest.raises(NotFittedError):
        new.predict(X)
    assert not [name for name in vars(new) if name.endswith("_")]


def test_validation_fraction_is_not_asked_without_early_stopping(X, Y):
    assert quick(validation_fraction=0, early_stopping=False, max_iter=500).fit(X, Y).n_iter_ > 1


def test_cuda_is_refused_in_words_where_there_is_none(X, Y, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(
            ValueError, match=f"device='{device}' was asked for, but torch sees 0 CUDA devices"
        ):
            quick(device=device).fit(X, Y)
    assert same_bits(quick(device="auto").fit(X, Y), quick(device="cpu").fit(X, Y))


def test_convergence_warning_points_at_the_caller(X, Y):
    with pytest.warns(ConvergenceWarning, match="training reached max_iter=2 epochs") as caught:
        quick(max_iter=2).fit(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(max_iter=1000).fit(X, Y)


def test_divergence_is_an_error(X, Y):
    for early_stopping in (True, False):
        wild = quick(
            activation="identity", loss="mse", learning_rate_init=1e30, early_stopping=early_stopping
        )
        with pytest.raises(ValueError, match="training diverged for 2 of 2 heads; lower learning_rate_init"):
            wild.fit(X, Y)


def test_best_weights_from_before_a_divergence_are_kept(X, Y):
    late = quick(
        activation="identity", loss="mse", learning_rate_init=1.0, head_inputs="all", n_iter_no_change=200
    )
    regressor = late.fit(X, Y["impression"])
    assert not np.isfinite(regressor.loss_curve_[-1])
    assert np.isfinite(regressor.predict(X)).all()


def test_verbose_shows_epochs_and_loss_on_stderr(X, Y, capsys, monkeypatch):
    monkeypatch.setattr("musiceval_sk._progress._on_terminal", lambda: True)
    quick(verbose=True).fit(X, Y["impression"])
    shown = capsys.readouterr()
    assert "epoch" in shown.err
    assert "loss 0." in shown.err
    assert shown.out == ""
    quick().fit(X, Y["impression"])
    assert capsys.readouterr().err == ""


def test_float32_training_predicts_in_float64_row_by_row(X, Y):
    regressor = quick().fit(X.astype(np.float32), Y)
    assert regressor.predict(X.astype(np.float32)).dtype == np.float64
    rows = np.concatenate([regressor.predict(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(rows, regressor.predict(X), rtol=1e-12)


def test_a_batch_larger_than_the_data_is_all_of_it(X, Y):
    assert same_bits(quick(batch_size=81).fit(X, Y), quick(batch_size=10_000).fit(X, Y))


@pytest.mark.filterwarnings("ignore:training reached max_iter")
def test_without_verbose_no_bar_is_made(monkeypatch):
    """Even a hidden bar holds a semaphore, which a worker killed by Ctrl-C leaks."""
    made = []
    bar = tqdm.tqdm
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("tqdm.tqdm", lambda *args, **options: made.append(options) or bar(*args, **options))
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.uniform(1, 5, size=20)
    MOSRegressor.from_protocol("paper", max_iter=2, n_ensemble=1).fit(X, y)
    assert made == []
    MOSRegressor.from_protocol("paper", max_iter=2, n_ensemble=1, verbose=True).fit(X, y)
    assert len(made) == 1
