"""What `pip install` makes of the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources alone: a build leaves folders behind."""
    target = tmp_path / "copy"
    target.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target)
    for name in ("raftcore", "raftdjango", "demo_site", "tests/demo"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def build(copy: Path, hook: str) -> set[str]:
    """Build, with warnings as errors; the names in the wheel."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BUILD, hook, str(copy)],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(copy / done.stdout.splitlines()[-1]) as wheel:
        return set(wheel.namelist())


def test_editable_install_warns_of_nothing(copy: Path) -> None:
    assert any(name.endswith(".pth") for name in build(copy, "build_editable"))


def test_wheel_has_the_packages_with_their_files_and_nothing_else(copy: Path) -> None:
    names = build(copy, "build_wheel")
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "raftcore",
        "raftdjango",
    }
    for name in (
        "raftdjango/py.typed",
        "raftdjango/templates/admin/raftdjango/cluster.html",
        "raftdjango/static/raftdjango/cluster.css",
        "raftdjango/management/commands/raftnode.py",
        "raftdjango/backends/sqlite3/client.py",
        "raftcore/proto/raft_pb2.py",
    ):
        assert name in names
