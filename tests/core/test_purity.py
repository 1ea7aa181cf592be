"""The core stands alone: no sockets, files, threads, clocks, and nothing of Django."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import raftcore

FOLDER = Path(raftcore.__file__).parent
MODULES = sorted(
    path for part in (".", "protocol", "state") for path in (FOLDER / part).glob("*.py")
)
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


TOP = {"core", "trace", "recording", "status", "starting", "storage", "snapshot_stream"}


@pytest.mark.parametrize(
    ("folder", "above"),
    [
        ("state", TOP | {"protocol", "changes"}),
        ("protocol", TOP),
        ("storage", TOP - {"storage"} | {"protocol", "state", "changes", "quorum", "messages"}),
        ("snapshot_stream", TOP - {"snapshot_stream"} | {"protocol", "state", "changes"}),
    ],
)
def test_a_layer_uses_those_below_it_only(folder, above):
    for path in (FOLDER / folder).glob("*.py"):
        for used in used_at_run_time(ast.parse(path.read_text())):
            assert used not in above, path


def used_at_run_time(tree):
    """Modules and packages of `raftcore` that are imported, but for those that only types name."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("raftcore"):
            _, _, module = node.module.partition(".")
            yield from [module.partition(".")[0]] if module else [name.name for name in node.names]


def test_every_module_has_its_layer():
    """In the list at the top of the package, or of the folder."""
    for path in FOLDER.rglob("*.py"):
        about = ast.get_docstring(ast.parse((path.parent / "__init__.py").read_text())) or ""
        if path.stem != "__init__" and not path.stem.endswith("_pb2"):
            assert re.search(rf"\b{path.stem}\b", about), path
    about = ast.get_docstring(ast.parse((FOLDER / "__init__.py").read_text())) or ""
    assert all(f"{path.parent.name}/" in about for path in FOLDER.glob("*/__init__.py"))


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
