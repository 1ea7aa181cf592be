"""What the guide to `raftcore` says is so: its programs run, and nothing that it should name is left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args

import pytest

import raftcore
import raftcore.snapshot_stream
import raftcore.storage
from raftcore import Config, Effect, RaftCore
from raftcore.config import MIB

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/raftcore.md").read_text() + (ROOT / "docs/raftcore-running.md").read_text()
REFERENCE = (ROOT / "docs/ref/raftcore.md").read_text()
PROGRAMS = {
    name: code for code, name in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", GUIDE, re.DOTALL)
}
SECONDS_MAX = 120
"""A program that has not ended by then does not end."""


def section(title: str) -> str:
    """Of the reference."""
    return REFERENCE.split(f"## {title}\n")[1].split("\n## ")[0]


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that knows of `raftcore` what is in this tree."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with all programs of the guide."""
    folder = tmp_path_factory.mktemp("guide")
    for name, code in PROGRAMS.items():
        (folder / name).write_text(code)
    return folder


def test_all_code_is_in_programs():
    assert GUIDE.count("```python") == len(PROGRAMS)
    assert {"node.py", "cluster.py"} < set(PROGRAMS)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("demo.py", ""),
        ("tcp.py", "['red', 'red', 'red']"),
        ("traced.py", '"commit_index":3'),
        ("seeds.py", ""),
    ],
)
def test_a_program_of_the_guide_runs(programs, name, says, tmp_path):
    result = run(name, str(tmp_path / "data"), folder=programs)
    assert result.returncode == 0, result.stderr
    assert says in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_every_setting_is_there_with_its_default(field):
    row = re.search(rf"^\| `{field.name}` \| (.+?) \| .+ \|$", section("Config"), re.MULTILINE)
    assert row, field.name
    default = "\N{EN DASH}" if field.default is MISSING else str(field.default)
    if isinstance(field.default, int) and field.default >= MIB:
        default = f"{field.default // MIB} MiB"
    assert row[1] == default


def test_no_setting_is_invented():
    named = re.findall(r"^\| `(\w+)` \|", section("Config"), re.MULTILINE)
    assert named == [field.name for field in fields(Config)]


def test_every_effect_is_there_with_its_fields():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", section("Effects"), re.MULTILINE)
    assert {name: re.findall(r"`(\w+)`", parts) for name, parts in rows} == {
        effect.__name__: [field.name for field in fields(effect)] for effect in get_args(Effect)
    }


def test_every_input_and_everything_to_look_at_is_there():
    described = re.findall(r"^\| (`.+?) \|", section("RaftCore"), re.MULTILINE)
    named = {name for cell in described for name in re.findall(r"`(\w+)", cell)}
    assert named == {name for name in vars(RaftCore) if not name.startswith("_")}


@pytest.mark.parametrize("module", [raftcore, raftcore.storage, raftcore.snapshot_stream])
def test_every_name_in_code_is_exported(module):
    """What the guide's programs import is public."""
    pattern = rf"^from {re.escape(module.__name__)} import (\([^)]*\)|.*)$"
    imported = re.findall(pattern, GUIDE, re.MULTILINE)
    assert {name for names in imported for name in re.findall(r"\w+", names)} <= set(module.__all__)


def test_nothing_but_the_standard_library_and_protobuf_is_needed():
    modules = "raftcore, raftcore.codec, raftcore.snapshot_stream, raftcore.storage, raftcore.trace"
    code = f"import sys; before = set(sys.modules); import {modules}; print(*set(sys.modules) - before)"
    result = run("-c", code)
    assert "raftcore.storage.wal" in result.stdout.split(), result.stderr
    foreign = [
        name
        for name in result.stdout.split()
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "raftcore"}
        and not re.match(r"google(\.protobuf\b|\._upb\b|$)", name)
    ]
    assert foreign == []
