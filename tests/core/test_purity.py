"""The core stands alone: no sockets, files, threads, clocks, and nothing of Django."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import raftcore

FOLDER = Path(raftcore.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))
ALLOWED = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "google",
    "json",
    "operator",
    "raftcore",
    "random",
    "re",
    "typing",
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_protocol_imports_nothing_that_does_something(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        assert {name.partition(".")[0] for name in names} <= ALLOWED, names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_random_numbers_are_handed_in(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "random":
            assert node.attr == "Random"


def test_it_can_be_imported_alone():
    code = (
        "import sys, raftcore, raftcore.codec;"
        "print(sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'django', 'requests', 'socket', 'asyncio', 'sqlite3', 'raftdjango'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_everything_named_is_there():
    assert all(hasattr(raftcore, name) for name in raftcore.__all__)
    assert list(raftcore.__all__) == sorted(raftcore.__all__)
