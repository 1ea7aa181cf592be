"""The table of other implementations' mistakes is complete, and the tests that it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/internals/raft-checklist.md").read_text()
SCENARIOS = sorted(set(re.findall(r"`(scenarios/\w+(?:/\w+)+\.txt)`", TABLE)))
NAMED = sorted(set(re.findall(r"`(\w+/\w+\.py)::(\w+)`", TABLE)))


def test_every_mistake_has_its_line():
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE)]
    assert numbers == list(range(1, 68))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda part: part)
def test_the_test_named_there_exists(path, name):
    tree = ast.parse((ROOT / "tests" / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize("path", SCENARIOS)
def test_the_scenario_named_there_exists(path):
    assert (ROOT / "tests" / path).is_file()
