"""Whatever a command refuses or warns of, it names its options, and no argument of a Python call."""

import re

import pytest
from typer.testing import CliRunner

from musiceval_sk.cli import app as cli
from musiceval_sk.cli.options import FLAGS, in_options

# Of the library's functions that commands call; rater=listener and the like are what --column takes.
COMMANDS = [
    *cli._COMMANDS,
    cli.cache.doctor,
    cli.cache.export,
    cli.cache.prune,
    cli.listen.design,
    cli.listen.build,
]
ARGUMENTS = {option.name for command in COMMANDS for option in cli._options_of(command)[1]}
ARGUMENTS |= {"rater", "column", "counts", "max_iter", "items", "features", "audio_model", "text_model", "by"}
RATED = "rater,clip_id,impression\nr1,a,3\nr2,a,4\nr1,b,2\nr2,b,1\nr1,c,5\nr2,c,4\n"
FILES = {
    "clips.csv": "clip_id,path,prompt,system\na,a.wav,x,S1\nb,b.wav,y,S2\nc,c.wav,z,S2\n",
    "bare.csv": "clip_id,path\na,a.wav\nb,b.wav\nc,c.wav\n",
    "other.csv": "clip_id,path,system,MOS\na,a.wav,S1,3\nb,b.wav,S2,4\n",
    "ratings.csv": RATED,
    "named.csv": RATED.replace("rater", "listener"),
    "two.csv": RATED.replace("rater", "listener").replace("\n", ",j\n").replace(",j\n", ",judge\n", 1),
    "two_clips.csv": RATED.replace("clip_id", "file").replace("\n", ",x\n").replace(",x\n", ",stimulus\n", 1),
    "slots.csv": RATED.replace("rater", "slot"),
    "unnamed.csv": RATED.replace("impression", "MOS"),
    "off.csv": RATED.replace("5", "9"),
    "lone.csv": RATED.replace("r2", ""),
    "mushra.csv": RATED.replace("impression", "condition,impression").replace(",a,", ",a,ref,"),
    "pairs.csv": "rater,clip_a,clip_b,preference\nr,a,b,a\nr,b,c,b\n",
    "lines.jsonl": '{"impression": 3.5}\n{"impression": 2.5}\n',
    "study.toml": 'clips = "clips.csv"\nratings = "two.csv"\n',
    "plain.toml": 'clips = "clips.csv"\n',
    "split.toml": 'clips = "clips.csv"\nratings = "ratings.csv"\nn_splits = 9\n',
    "off.toml": 'clips = "clips.csv"\nratings = "off.csv"\n',
    "unnamed.toml": 'clips = "clips.csv"\nratings = "unnamed.csv"\n',
    "answers.csv": "clip_id,impression\na,3\nb,9\nc,4\n",
}
FAILING = """
study clips.csv
study other.csv
study clips.csv --ratings two.csv
study clips.csv --ratings slots.csv
study clips.csv --ratings lone.csv
study clips.csv --ratings unnamed.csv
study clips.csv --ratings off.csv
study clips.csv --ratings ratings.csv --folds 9
study clips.csv --ratings ratings.csv --cv tempo
study clips.csv --ratings ratings.csv --encoder laion-clap
study clips.csv --pattern {system}
study study.toml
study plain.toml
study split.toml
study off.toml
study unnamed.toml
curve clips.csv
curve clips.csv --grows ratings
curve clips.csv --ratings two.csv
curve clips.csv --ratings ratings.csv --folds 9
curve clips.csv --ratings ratings.csv --encoder hf-clap
fit clips.csv
fit other.csv
fit clips.csv --ratings two_clips.csv
fit clips.csv --ratings off.csv
fit clips.csv --ratings ratings.csv --encoder laion-clap --out m.skops
fit clips.csv --ratings ratings.csv --model forest
fit clips.csv --ratings ratings.csv --device tpu
predict none.skops clips.csv
recalibrate none.skops clips.csv --ratings two.csv
score answers.csv --truth clips.csv
score answers.csv --truth clips.csv --ratings ratings.csv
score answers.csv --truth clips.csv --ratings off.csv
score answers.csv --truth clips.csv --ratings two.csv
score answers.csv --truth clips.csv --ratings ratings.csv --split dev
score lines.jsonl --truth clips.csv --ratings ratings.csv
score answers.csv --truth clips.csv --ratings ratings.csv --column impression
score answers.csv --truth clips.csv --ratings ratings.csv --ratings-column impression
report none --ratings two.csv
ratings two.csv
ratings two_clips.csv
ratings slots.csv
ratings slots.csv --anonymous
ratings lone.csv
ratings unnamed.csv
ratings off.csv
ratings ratings.csv --clips bare.csv
ratings ratings.csv --details
ratings ratings.csv --fastest 3
ratings ratings.csv --fastest 3 --time-column took
ratings ratings.csv --reference ref
ratings ratings.csv --reference ref --condition-column condition
ratings ratings.csv --rescale 5 1
ratings ratings.csv --method bias --anonymous
ratings ratings.csv --batch day --same-share 1
ratings ratings.csv --column impression
pairs pairs.csv
pairs pairs.csv --clips bare.csv
pairs pairs.csv --level clip
pairs pairs.csv --level clip --prior -1
pairs two.csv
pairs pairs.csv --level clip --prior 1 --predictions lines.jsonl
extract clips.csv --encoder laion-clap
extract clips.csv --encoder hf-audio
clap-score clips.csv
check .
reproduce .
reproduce . --finetune some
cache doctor --encoder laion-clap
cache doctor --encoder hf-clap
cache doctor --encoder hf-audio
cache doctor --encoder muq
cache export out.npz --clips clips.csv --encoder hf-clap
cache prune
listen design clips.csv --raters 2
listen design clips.csv --raters 8 --batch-size 1 --duplicates 3
listen design clips.csv --raters 8 --training 9
listen design clips.csv --raters 8 --method pairs --probes clips.csv
listen design clips.csv --raters 8 --probes-per-batch 2
""".strip().splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MUSICEVAL_CACHE", "MUSICEVAL_CLAP_CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def bare_arguments(text, of_study_file):
    text = re.sub(r"such as \w+=\S+", "", text)  # what an option takes
    after = r"(?![\w.-])" if of_study_file else "(?!=)"  # a study file has n_splits = 9
    return [word for word in re.findall(rf"(?<![\w.-])([a-z_]+)={after}", text) if word in ARGUMENTS]


@pytest.mark.parametrize("line", FAILING)
def test_no_message_names_an_argument(here, line):
    result = CliRunner().invoke(cli.app, line.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert bare_arguments(result.output, ".toml" in line) == [], result.output
    assert not re.search(r"(--[a-z-]+)\W+\1\b|got 'None'", result.output), result.output


def test_every_command_is_tried():
    """Those that have no failing path of their own are cache info, verify, compact and merge, which take a store alone."""
    tried = {line.split()[0] for line in FAILING}
    assert {command.__name__.replace("_", "-") for command in cli._COMMANDS} - tried == {"demo"}


@pytest.mark.parametrize(
    "line, words",
    [
        ("ratings ratings.csv --details", "give a clips table, or ratings, with a column 'system'"),
        ("cache doctor --encoder laion-clap", "then point to it with --checkpoint, or with the environment"),
        ("pairs pairs.csv", "no systems are known: give --clips, a table with a column 'system', or --level clip for"),
        ("study clips.csv", "Give --ratings or a table with their means"),
        ("study study.toml", "say which with ratings_options.columns, such as rater=listener"),
        ("ratings ratings.csv --fastest 3 --time-column took", "no column 'took'; name the column that has them with --time-column"),
        ("ratings ratings.csv --rescale 5 1", "--rescale 5.0 1.0 must be"),
        ("ratings ratings.csv --anonymous --details", "and --anonymous says that nobody does"),
        ("study clips.csv --ratings slots.csv", "give musiceval ratings --anonymous where nobody knows"),
        ("score lines.jsonl --truth clips.csv --ratings ratings.csv", "given to the tool as --listing"),
    ],
)  # fmt: skip
def test_the_option_that_helps_is_named(here, line, words):
    assert words in CliRunner().invoke(cli.app, line.split()).output


def test_options_of_an_encoder_follow_its_name():
    words = "its tower is HTSAT-tiny: pass amodel='HTSAT-tiny'", "pass trust_remote_code=True"
    before = FLAGS.set({"encoder": "--encoder"})
    try:
        assert in_options(words[0]).endswith("pass --encoder NAME:amodel=HTSAT-tiny")
        assert in_options(words[1]) == "pass --encoder NAME:trust_remote_code=true"
        FLAGS.set({"encoder": "encoder"})  # a study file names parameters
        assert in_options(words[1]) == words[1]
    finally:
        FLAGS.reset(before)


def test_a_column_that_a_rule_uses_is_not_called_unused(here):
    heard = [("a", "ref", 99), ("b", "low", 20)]
    rows = [f"r{n},{clip},{kind},{score - n},x" for n in range(4) for clip, kind, score in heard]
    table = "\n".join(["listener,clip_id,condition,impression,site", *rows])
    (here / "mushra.csv").write_text(table)
    line = "ratings mushra.csv --scale 0 100 --reference ref --condition-column condition --batch site"
    result = CliRunner().invoke(cli.app, line.split())
    assert result.exit_code == 0, result.output
    assert "column 'listener' taken as 'rater'" in result.stderr and "not used" not in result.stderr
