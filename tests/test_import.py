"""The package as a whole: what its import costs, its public names, and whether the docs tell the truth of them."""

import ast
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import musiceval_sk

MODULES = [module.name for module in pkgutil.walk_packages(musiceval_sk.__path__, "musiceval_sk.")]
STUB = Path(musiceval_sk.__file__).with_name("__init__.pyi")
NAMES = re.findall(r" as (\w+)$", STUB.read_text(), re.MULTILINE)
HEAVY = [
    "torch",
    "laion_clap",
    "transformers",
    "matplotlib",
    "soundfile",
    "h5py",
    "sklearn",
    "pandas",
    "scipy",
]


def test_the_import_is_light():
    script = f"import json, sys, musiceval_sk; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == []


def test_encoders_are_listed_and_described_without_building_one():
    script = (
        "import json, sys, musiceval_sk as m; m.list_encoders(); m.get_encoder('spectral').fingerprint;"
        "print(json.dumps([name for name in ('torch', 'laion_clap', 'transformers') if name in sys.modules]))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == []


def test_the_stub_is_the_list_of_public_names():
    assert 40 < len(NAMES) <= 75
    assert sorted(musiceval_sk.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(musiceval_sk))
    with pytest.raises(AttributeError, match="no_such_name"):
        musiceval_sk.no_such_name  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported(name):
    assert getattr(musiceval_sk, name) is not None


def test_the_core_works_without_the_packages_of_extras(monkeypatch, write_sounds, tmp_path):
    for name in ("laion_clap", "transformers", "librosa", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "laion-clap" in musiceval_sk.list_encoders()
    embedder = musiceval_sk.ClipEmbedder("spectral", cache=tmp_path / "embeddings.h5")
    X = embedder.fit_transform(write_sounds(0.5, 0.7))
    assert X.shape == (2, 466)  # 210 of audio, 256 of text
    assert np.isfinite(X).all()


def public_callables():
    """Every public function, and every public method that a public class defines itself."""
    for name in NAMES:
        yield from callables_of(name, getattr(musiceval_sk, name))


def callables_of(name, thing):
    if inspect.isfunction(thing):
        yield name, thing
    elif inspect.isclass(thing) and not issubclass(thing, Exception):
        if "Parameters\n" in (inspect.getdoc(thing) or ""):
            yield name, thing
        for method, member in vars(thing).items():
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and not method.startswith("_"):
                yield f"{name}.{method}", function


def signature_of(thing):
    parameters = inspect.signature(thing).parameters.values()
    return {
        {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        + parameter.name: parameter
        for parameter in parameters
        if parameter.name not in ("self", "cls")
    }


@pytest.mark.parametrize("name, thing", [pytest.param(*pair, id=pair[0]) for pair in public_callables()])
def test_documented_parameters_and_defaults_are_those_of_the_signature(name, thing):
    check_documented(thing)


@pytest.mark.parametrize(
    "module", [name for name in MODULES if ".cli" not in name]
)  # commands leave out shared options
def test_what_layers_offer_one_another_is_documented_as_what_is_public(module):
    for name, thing in vars(pytest.importorskip(module, exc_type=ImportError)).items():
        if getattr(thing, "__module__", None) == module and not name.startswith("_"):
            for _, offered in callables_of(name, thing):
                if "Parameters\n---" in (inspect.getdoc(offered) or ""):
                    check_documented(offered)


def check_documented(thing):
    docscrape = pytest.importorskip(
        "numpydoc.docscrape", reason="numpydoc is not installed to read the docs with"
    )
    documented = docscrape.NumpyDocString(inspect.getdoc(thing))["Parameters"]
    signature = signature_of(thing)
    names = [name.strip() for entry in documented for name in entry.name.split(",")]
    if inspect.isclass(thing) and "__init__" not in vars(thing) and names[-1].startswith("**"):
        # "all other parameters of" the class that the constructor is inherited from
        del names[-1], documented[-1]
        signature = dict(list(signature.items())[: len(names)])
    assert names == list(signature)
    for entry in documented:
        stated = re.search(r"default=(.+)$", entry.type)
        for parameter in (signature[name.strip()] for name in entry.name.split(",")):
            if stated is None:
                assert parameter.default is inspect.Parameter.empty, (
                    f"{entry.name}: its default is not stated"
                )
            else:
                named = getattr(parameter.default, "__name__", None)
                assert stated[1] == named or ast.literal_eval(stated[1]) == parameter.default, entry.name


def test_the_public_callables_are_found():
    found = dict(public_callables())
    assert len(found) > 50
    assert {"load_clips", "EmbeddingStore.append", "MOSRegressor", "MOSRegressor.predict"} <= set(found)
