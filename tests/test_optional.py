"""Errors about packages that extras bring."""

import pytest

from musiceval_sk._optional import import_optional, pip_install


def test_what_is_not_installed_is_told_with_its_extra():
    with pytest.raises(
        ImportError, match=r'Reading X needs .*not installed.*pip install "musiceval_sk\[x\]"'
    ):
        import_optional("no_such_package", extra="x", purpose="Reading X")


def test_the_packages_of_an_extra_are_named():
    assert pip_install("hf") == 'pip install "transformers>=4.53"'
    assert pip_install("report") == 'pip install "jinja2>=3.1.6" "matplotlib>=3.8"'


def test_what_is_installed_and_does_not_load_says_why(tmp_path, monkeypatch):
    (tmp_path / "picky_package.py").write_text(
        "raise ImportError('picky_package requires NumPy 2.0 or newer')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ImportError, match="installed but does not load here: picky_package requires NumPy 2.0"
    ):
        import_optional("picky_package", extra="x", purpose="Reading X")
