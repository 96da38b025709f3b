"""All encoders of the library, held to what `musiceval_sk.testing` asks of anybody's."""

import importlib.util

import pytest

from musiceval_sk import get_encoder, list_encoders
from musiceval_sk.testing import ENCODER_CHECKS, check_fingerprints_differ
from tests.clap_files import write_clap_checkpoint, write_roberta_tokenizer, write_transformers_folder
from tests.features.encoders.audio_models import write_model, write_mulan, write_muq
from tests.features.toy import ToyEncoder

pytestmark = [
    pytest.mark.filterwarnings("ignore:At least one mel filter"),  # of AST's own extractor
    pytest.mark.xdist_group("conformance"),
]


def _clap(name, depths=None, **options):
    def make(folder):
        tokenizer, path = folder / "tokenizer", folder / f"{name}.pt"
        if not path.exists():
            write_roberta_tokenizer(tokenizer)
            write_clap_checkpoint(path, depths=depths)
        return get_encoder(name, checkpoint=path, tokenizer=tokenizer, device="cpu", **options)

    return make


def _made(name, write, **options):
    return lambda folder: get_encoder(name, checkpoint=write(folder), device="cpu", **options)


def _model(kind, **options):
    return _made("hf-audio", lambda folder: write_model(folder / kind, kind), **options)


# By name: what it needs installed, and how to make it of files in a folder.
ENCODERS = {
    "spectral": ((), lambda folder: get_encoder("spectral")),
    "toy": ((), lambda folder: ToyEncoder()),
    "laion-clap": (("laion_clap", "transformers"), _clap("laion-clap", amodel="HTSAT-tiny")),
    "hf-clap of a file": (("laion_clap", "transformers"), _clap("hf-clap", depths=[1, 1, 1, 1])),
    "hf-clap of a folder": (
        ("transformers",),
        _made("hf-clap", lambda folder: write_transformers_folder(folder / "clap"), layer="encoder"),
    ),
    "hf-audio, wav2vec2": (("transformers",), _model("wav2vec2", window_seconds=2)),
    "hf-audio, wav2vec2, large": (
        ("transformers",),
        _model("wav2vec2, large", window_seconds=2, layer="mean"),
    ),
    "hf-audio, hubert": (("transformers",), _model("hubert", window_seconds=2, layer=1)),
    "hf-audio, ast": (("transformers",), _model("ast")),
    "hf-audio, whisper": (("transformers",), _model("whisper")),
    "hf-audio, clap": (("transformers",), _model("clap")),
    "muq": (
        ("muq", "einops", "easydict", "transformers"),
        _made("muq", lambda folder: write_muq(folder / "muq-small"), window_seconds=2),
    ),
    "muq, mulan": (
        ("muq", "einops", "easydict", "transformers"),
        _made("muq", lambda folder: write_mulan(folder / "mulan-small")),
    ),
}


def test_every_registered_encoder_is_here():
    assert set(list_encoders()) <= {name.split(",")[0].split(" of ")[0] for name in ENCODERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("encoders")


# Audio towers in full size take a third of a second for a window.
_FULL_SIZE = ("laion-clap", "hf-clap of a file")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in _FULL_SIZE)) for name in ENCODERS],
)
def encoder(request, folder):
    packages, make = ENCODERS[request.param]
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    return make(folder)


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_its_promises(encoder, check):
    check(encoder)


def test_no_two_have_one_fingerprint(folder):
    made = [
        make(folder)
        for packages, make in ENCODERS.values()
        if all(importlib.util.find_spec(package) for package in packages)
    ]
    check_fingerprints_differ(made)
