"""Studies from a file: what each key means, and what is said where a key means nothing."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from musiceval_sk import MOSRegressor, StudyPlan, run_study
from musiceval_sk.datasets.synthetic import make_listening_test
from musiceval_sk.exceptions import ClipsTableError
from musiceval_sk.ratings.aggregate import is_musiceval
from tests.made_musiceval import make_musiceval

TOML = """
clips = "test/clips.csv"
ratings = "test/ratings.csv"
targets = ["impression"]
cv = ["system", "prompt"]
n_splits = 2
n_resamples = 50
cache = "e.h5"

[features.spectral]
encoder = "spectral"
pooling = ["mean", "max"]

[features.own]
table = "own.csv"

[models.ridge]
estimator = "Ridge"
alpha = 10.0

[models.neighbours]
estimator = "KNeighborsRegressor"
n_neighbors = 3
scaled = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    test = make_listening_test(
        folder / "test", n_systems=4, n_prompts=4, n_raters=6, seconds=1.0, random_state=0
    )
    own = pd.DataFrame({"loudness": np.arange(len(test.clips)), "tempo": 120}, index=test.clips.index)
    own.rename_axis("clip_id").to_csv(folder / "own.csv")
    (folder / "study.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def from_toml(folder):
    return StudyPlan.from_file(folder / "study.toml").run(progress=False)


def test_a_file_says_features_models_and_splits(from_toml):
    assert from_toml.splits == ["system", "prompt"]
    assert from_toml.targets == ["impression"]
    assert list(from_toml.about["features"]) == ["spectral, mean", "spectral, max", "own"]
    assert from_toml.about["features"]["spectral, max"].endswith("; pooling max")
    assert set(from_toml.about["models"]) == {"ridge", "neighbours"}
    assert "Ridge(alpha=10.0, random_state=0)" in from_toml.about["models"]["ridge"]
    assert from_toml.about["models"]["neighbours"] == "KNeighborsRegressor(n_neighbors=3)"
    names = list(from_toml.table("impression", split="prompt").index)
    assert names[:3] == ["global mean", "system mean", "prompt mean"]
    assert "neighbours (own)" in names
    assert from_toml.about["human_ceiling"]["impression"]["another panel"]["S_SRCC"] > 0


def test_yaml_and_python_say_the_same(folder, from_toml):
    yaml = pytest.importorskip("yaml", reason="study files in YAML come with the extra 'yaml'")
    tomllib = pytest.importorskip("tomllib")
    content = tomllib.loads(TOML)
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    plan = StudyPlan.from_file(folder / "study.yaml")
    assert plan == StudyPlan.from_file(folder / "study.toml")
    content |= {key: str(folder / content[key]) for key in ("clips", "ratings", "cache")}
    content["features"]["own"]["table"] = str(folder / "own.csv")
    assert StudyPlan(**content) == plan


def test_it_is_run_study(folder, from_toml):
    plan = StudyPlan.from_file(folder / "study.toml")
    from musiceval_sk.ratings.aggregate import load_scored_clips

    clips = load_scored_clips(plan.clips, ratings=plan.ratings, targets=["impression"])
    own = pd.read_csv(folder / "own.csv", index_col="clip_id").astype(float)
    models = {"neighbours": KNeighborsRegressor(n_neighbors=3)}
    alone = run_study(clips, own, models, "prompt", targets="impression", n_splits=2, n_resamples=0)
    found = from_toml.table("impression", split="prompt").loc["neighbours (own)"]
    np.testing.assert_allclose(found, alone.table("impression").loc["neighbours"], rtol=1e-9)


def test_one_target_needs_no_list(folder, from_toml):
    (folder / "one.toml").write_text(TOML.replace('targets = ["impression"]', 'targets = "impression"'))
    study = StudyPlan.from_file(folder / "one.toml").run(progress=False)
    pd.testing.assert_frame_equal(study.scores, from_toml.scores)


def test_models_by_name_or_estimator(folder, torch):
    clips = pd.DataFrame({"path": "", "prompt": "p", "system": list("ab")}, index=["x", "y"])
    assert list(StudyPlan("c.csv", models=["ridge"]).models_for(clips)) == [
        "global mean",
        "system mean",
        "prompt mean",
        "ridge",
    ]
    given = {
        "mine": {"estimator": "MOSRegressor", "hidden_layer_sizes": [8, 4]},
        "line": {"estimator": "Ridge"},
    }
    models = StudyPlan("c.csv", models=given, random_state=7).models_for(clips)
    regressor = models["mine"].steps[-1][1]
    assert isinstance(regressor, MOSRegressor)
    assert (regressor.hidden_layer_sizes, regressor.random_state) == ((8, 4), 7)
    assert isinstance(models["line"].steps[-1][1], Ridge)
    for wrong, words in (({"max_iter": "5"}, "'max_iter' .* Got '5'"), ({"device": 3}, "'device' .* Got 3")):
        with pytest.raises(ValueError, match=words):
            StudyPlan("c.csv", models={"mine": given["mine"] | wrong}).models_for(clips)
    with pytest.raises(ValueError, match="'alpha' parameter of Ridge must be .* Got 'strong'"):
        StudyPlan("c.csv", models={"line": given["line"] | {"alpha": "strong"}}).models_for(clips)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('clip = "c.csv"', "unknown key 'clip', did you mean 'clips'\\? Known are clips, features, "),
        ('cv = "system"', "names no clips; give clips = "),
        ("clips = ", "study.toml: Invalid value"),
        ("clips = 'c.csv'\nfeatures = 3", "features must hold names and values, got int"),
        ("clips = 'c.csv'\nn_splits = '3'", "n_splits = '3' must be a whole number"),
        (
            "clips = 'c.csv'\nscale = 5",
            r"scale = 5 \(.*\); it must be two numbers, such as \[1, 5\]",
        ),
        ("clips = 'c.csv'\nscale = [5, 5]", "study.toml: scale = .* the scale 5 to 5 is empty"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, words):
    (tmp_path / "study.toml").write_text(content)
    with pytest.raises(ValueError, match=words):
        StudyPlan.from_file(tmp_path / "study.toml")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"study.ini: a study file is one of .toml, .yaml, .yml"):
        StudyPlan.from_file(tmp_path / "study.ini")
    with pytest.raises(ValueError, match="gone.toml: cannot be read"):
        StudyPlan.from_file(tmp_path / "gone.toml")


@pytest.mark.parametrize("key", ["random_state", "scale", "n_splits", "targets"])
def test_aliases_that_would_fill_memory_are_refused(tmp_path, key):
    """Ten lists, each of the one before ten times, are ten thousand million words in 700 bytes."""
    pytest.importorskip("yaml", reason="study files in YAML come with the extra 'yaml'")
    lists = ["&a [" + ", ".join(["word"] * 10) + "]"]
    lists += [
        f"&{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in itertools.pairwise("abcdefghi")
    ]
    path = tmp_path / "study.yaml"
    path.write_text(f"models: [{', '.join(lists)}]\nclips: c.csv\n{key}: *i\n")
    with pytest.raises(
        ValueError, match=r"study.yaml: parts that aliases \(\*name\) repeat would fill memory"
    ):
        StudyPlan.from_file(path)
    path.write_text("clips: c.csv\nfeatures: {a: &clap {encoder: spectral}, b: *clap}\n")
    assert StudyPlan.from_file(path).features == dict.fromkeys("ab", {"encoder": "spectral"})


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (
            ["forest"],
            "unknown model 'forest'; choose from ridge, SVR, MOSRegressor \\(paper\\), MOSRegressor",
        ),
        ({"a": {"alpha": 1}}, "model 'a' names no estimator"),
        ({"a": {"estimator": "Rigde"}}, "unknown estimator 'Rigde'; .*did you mean Ridge"),
        ({"a": {"estimator": "Ridge", "alfa": 1}}, "model 'a': unknown key 'alfa', did you mean 'alpha'"),
        ({"a": "Ridge"}, "model 'a' must hold names and values, got str"),
        (-1, "models = -1 must be a name or names"),
        ([{"ridge": 5}], "models = .* must be a name or names"),
    ],
)
def test_wrong_models_are_refused(models, words):
    clips = pd.DataFrame({"path": "", "prompt": ""}, index=["x"])
    with pytest.raises(ValueError, match=words):
        StudyPlan("c.csv", models=models).models_for(clips)


def test_wrong_features_are_refused(folder, tmp_path):
    with pytest.raises(
        ValueError, match="features 'a' must name either an encoder or a table; it has pooling"
    ):
        StudyPlan("c.csv", features={"a": {"pooling": "mean"}}).feature_sets()
    with pytest.raises(ValueError, match="pooling = 3 must be a name or names"):
        StudyPlan("c.csv", features={"a": {"encoder": "spectral", "pooling": 3}}).feature_sets()
    (tmp_path / "own.csv").write_text("clip_id,x\nS01_P01,1\nS01_P02,loud\n")
    plan = StudyPlan.from_file(folder / "study.toml")
    with pytest.raises(ClipsTableError, match="lines without a number in every column: 3"):
        StudyPlan(plan.clips, {"own": {"table": tmp_path / "own.csv"}}, ratings=plan.ratings).run()
    (tmp_path / "own.csv").write_text("name,x\nS01_P01,1\n")
    with pytest.raises(ClipsTableError, match="has no column 'clip_id'; found name, x"):
        StudyPlan(plan.clips, {"own": {"table": tmp_path / "own.csv"}}, ratings=plan.ratings).run()


def test_names_are_checked_before_anything_is_embedded(folder, monkeypatch):
    monkeypatch.setattr("musiceval_sk.studies.plan.embed_features", lambda *_, **__: pytest.fail("embedded"))
    plan = StudyPlan.from_file(folder / "study.toml")
    for change, words in (({"cv": "singer"}, "unknown split"), ({"targets": ["groove"]}, "groove")):
        with pytest.raises(ValueError, match=words):
            StudyPlan(**{**vars(plan), **change}).run()


@pytest.mark.slow
def test_musiceval_is_read_as_it_is(tmp_path):
    made = make_musiceval(
        tmp_path / "MusicEval-full", n_systems=4, n_prompts=4, n_demo_clips=1, seconds=1, random_state=0
    )
    assert is_musiceval(made.folder) and is_musiceval(tmp_path) and not is_musiceval(made.folder / "sets")
    for name, is_split in (("predictions", False), ("test-00000-of-00001", True)):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.parquet").touch()
        assert is_musiceval(tmp_path / name) == is_split
    with pytest.warns(UserWarning, match="2,748|2748"):
        study = StudyPlan(
            made.folder, models=["ridge"], cv="official", cache=tmp_path / "e.h5", n_resamples=0
        ).run()
    assert study.about["splits"]["official"]["folds"] == 1
    assert set(study.about["human_ceiling"]) == {"impression", "alignment"}
    json.dumps(study.about)
