"""Sphinx: `make docs` builds the site into docs/_build, every warning an error, without the network."""

import ast
from pathlib import Path
from textwrap import indent

import musiceval_sk

project = "musiceval_sk"
author = "The musiceval_sk developers"
copyright = "The musiceval_sk developers"
version = release = musiceval_sk.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["templates"]
default_role = "py:obj"
html_theme = "pydata_sphinx_theme"
html_title = f"musiceval_sk {version}"
html_show_sourcelink = False
html_sidebars = dict.fromkeys(["index", "installation", "concepts"], [])
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 7,
}

myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "parallel": 2,
    "min_reported_time": 0,
}


def write_benchmarks(app):
    """Write a page of what each benchmark measures and found, which stands in its docstring."""
    folder = Path(app.srcdir).parent / "examples" / "benchmarks"
    parts = [
        "Benchmarks\n==========\n\nRun by hand, as ratios against a rival in the same run. Machines, dates and figures stand with each.\n"
    ]
    for path in sorted(folder.glob("*.py")):
        title, _, rest = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).partition("\n")
        parts.append(
            f"{path.name}\n{'-' * len(path.name)}\n\n{title}\n\n.. code-block:: none\n\n{indent(rest.strip(), '   ')}\n"
        )
    Path(app.srcdir, "benchmarks.rst").write_text("\n".join(parts), encoding="utf-8")


def setup(app):
    """Make the page of benchmarks before Sphinx looks for pages."""
    app.connect("builder-inited", write_benchmarks)
