"""What doctests of the package find in their folder."""

import pytest


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
