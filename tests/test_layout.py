"""Sizes of the package: what a reader meets in a file and in a folder, and how much there is in all."""

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "musiceval_sk"
FILES = sorted(PACKAGE.rglob("*.py"))
# Bounds of the whole, to be lowered with the package: 9,000 lines of code in 95 files is where it is to go.
MOST_LINES, MOST_FILES = 20_783, 169
MOST_LINES_OF_A_FILE, MOST_FILES_OF_A_FOLDER = 300, 12
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def lines_of_code(path):
    """Lines that are no docstring, comment or blank."""
    text = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        line
        for token in tokens
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_package_does_not_grow():
    lines = sum(map(lines_of_code, FILES))
    print(f"{lines} lines of code in {len(FILES)} files")
    assert lines <= MOST_LINES
    assert len(FILES) <= MOST_FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_read_in_one_go(path):
    assert lines_of_code(path) <= MOST_LINES_OF_A_FILE


def test_a_folder_is_seen_at_a_glance():
    folders = Counter(str(path.parent.relative_to(PACKAGE)) for path in FILES)
    for folder, files in folders.items():
        assert files <= MOST_FILES_OF_A_FOLDER, folder


def test_a_sub_package_is_the_privacy():
    """Below the package itself no module bears an underscore, and no name with one is imported from elsewhere."""
    for path in FILES:
        if path.parent != PACKAGE:
            assert path.name == "__init__.py" or not path.name.startswith("_"), path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("musiceval_sk."):
                private = [
                    name.name for name in node.names if name.name.startswith("_") and name.name[1] != "_"
                ]
                assert not private, f"{path}: {private} of {node.module}"
