"""What doctests of the package find in their folder."""

from importlib.util import find_spec

import pytest

# Modules whose examples need the package of an extra.
_NEED = {"hugging_face": "datasets", "onnx_export": "onnx", "torch_metric": "torchmetrics"}
collect_ignore = [
    f"musiceval_sk/integrations/{module}.py" for module, package in _NEED.items() if not find_spec(package)
]


@pytest.fixture(autouse=True)
def folder_with_a_made_musiceval(request, tmp_path_factory, monkeypatch):
    """Run doctests in a folder of their own; those that name MusicEval-full find a small made one there."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    folder = tmp_path_factory.mktemp("doctest")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MUSICEVAL_CACHE", str(folder / "embeddings.h5"))
    if any("MusicEval-full" in example.source for example in request.node.dtest.examples):
        from tests.made_musiceval import make_musiceval

        make_musiceval(folder / "MusicEval-full", n_systems=2, n_prompts=10, n_demo_clips=4)
