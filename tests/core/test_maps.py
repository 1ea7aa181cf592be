"""What the maps in `docs/internals` name exists: functions, tests and scenarios."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPER = (ROOT / "docs/internals/raft-paper.md").read_text()
GORAFT = (ROOT / "docs/internals/goraft.md").read_text()
MAPS = PAPER + GORAFT

TESTS = sorted(set(re.findall(r"`(\w+/\w+\.py)::(\w+)`", MAPS)))
FILES = sorted(set(re.findall(r"`(?:tests/)?(\w+(?:/\w+)+\.(?:py|txt))`", MAPS)))
CODE = sorted(set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*\.\w+(?:\.\w+)?)`", MAPS)))


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of all tables, without their heads."""
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [line.split(" | ") for line in lines]


def table(section: str) -> list[list[str]]:
    """A section's rows below the head."""
    return rows(PAPER.split(f"## {section}\n")[1].split("\n## ")[0])[1:]


@pytest.mark.parametrize(("path", "name"), TESTS, ids=lambda part: part)
def test_the_test_named_there_exists(path, name):
    tree = ast.parse((ROOT / "tests" / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize("path", FILES)
def test_the_file_named_there_exists(path):
    assert (ROOT / "tests" / path).is_file()


@pytest.mark.parametrize(
    "name", [name for name in CODE if not name.startswith(("docs.", "tests."))]
)
def test_the_code_named_there_exists(name):
    """Modules are in one of `PACKAGES` unless they say otherwise."""
    if name.startswith(("raftcore.", "raftdjango.")):
        assert exists(name)
    else:
        assert any(exists(f"{package}.{name}") for package in PACKAGES)


PACKAGES = ("raftcore", "raftcore.protocol", "raftcore.state")


def exists(name: str) -> bool:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields.get(part) or getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.parametrize(
    ("section", "rules"),
    [
        ("Figure 2: state", 9),
        ("Figure 2: AppendEntries", 6),
        ("Figure 2: RequestVote", 3),
        ("Figure 2: rules for servers", 14),
        ("Figure 3: what always holds", 5),
    ],
)
def test_every_rule_of_the_figures_has_its_line_with_code_and_test(section, rules):
    lines = table(section)
    assert len(lines) == rules
    for *_, code, tests in lines:
        assert "`" in code
        assert "`" in tests


def test_every_deviation_is_explained_and_used():
    explained = {int(number) for number in re.findall(r"^(\d+)\. \*\*", PAPER, re.MULTILINE)}
    used = {int(number) for number in re.findall(r"\[(\d+)\]", PAPER)}
    # The introduction's example is one of them.
    assert explained == used == set(range(1, len(explained) + 1))
