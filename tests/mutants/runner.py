"""Makes a copy of `raftcore` with one mistake in it, and tests and simulates that."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
SUITES = ("core", "scenarios")
"""What is run to see which tests notice; without those about the files of this repository."""
_STORAGE = "storage"
"""And these, for a mistake in there."""
_ELSEWHERE = (
    *("core/test_checklist.py", "core/test_guide.py"),
    *("core/test_maps.py", "core/test_purity.py"),
)
_PLUGINS_OFF = ("django", "randomly", "xdist", "cacheprovider", "playwright", "base_url")
_CACHES = shutil.ignore_patterns("__pycache__")
_SIMULATION = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import raftcore
assert raftcore.__file__.startswith(sys.argv[1]), raftcore.__file__
from tests.sim.run import SimulationFailed, run
failures = []
for seed in range(int(sys.argv[3])):
    try:
        run(seed)
    except SimulationFailed as failed:
        failures.append((seed, f"{type(failed.cause).__name__}: {failed.cause}"))
        if sys.argv[4] == "first":
            break
print(json.dumps(failures))
"""
_TESTING = """
import sys
import pytest, raftcore
assert raftcore.__file__.startswith(sys.argv[1]), raftcore.__file__
sys.exit(pytest.main(sys.argv[2:]))
"""


def edited(mutant: Mutant) -> dict[str, str]:
    """The changed files' text."""
    texts: dict[str, str] = {}
    for file, before, after in mutant.edits:
        text = texts.get(file) or (ROOT / "raftcore" / file).read_text()
        if text.count(before) != 1:
            raise LookupError(f"{mutant.name!r} no longer fits {file}: adapt it to the code")
        texts[file] = text.replace(before, after)
    return texts


@contextmanager
def _copy(mutant: Mutant) -> Iterator[Path]:
    """A folder with `raftcore` as the mutant has it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "raftcore", folder / "raftcore", ignore=_CACHES)
        for file, text in edited(mutant).items():
            (folder / "raftcore" / file).write_text(text)
        yield folder


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which seeds noticed, and how."""

    failures: tuple[tuple[int, str], ...]


def simulate(mutant: Mutant, seeds: int, *, first_only: bool) -> Verdict:
    """Run seeds against the mutant."""
    with _copy(mutant) as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-c", _SIMULATION, str(folder), str(ROOT), str(seeds)),
                "first" if first_only else "all",
            ],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{mutant.name!r} cannot be simulated:\n{done.stderr}")
        return Verdict(tuple((seed, cause) for seed, cause in json.loads(done.stdout)))


def failing_tests(
    mutant: Mutant, files: tuple[str, ...] = (), *, first_only: bool
) -> tuple[str, ...]:
    """The tests that fail with the mutant: of these files, or of all of `SUITES`."""
    with _copy(mutant) as folder:
        suites = SUITES
        if any(file.startswith(f"{_STORAGE}/") for file, _, _ in mutant.edits):
            suites += (_STORAGE,)
        for suite in suites:
            shutil.copytree(ROOT / "tests" / suite, folder / "tests" / suite, ignore=_CACHES)
        for file in ("__init__.py", "conftest.py"):
            shutil.copy(ROOT / "tests" / file, folder / "tests" / file)
        # None of the project's own settings, among them Django's.
        (folder / "pytest.ini").write_text("[pytest]\n")
        done = subprocess.run(
            [
                *(sys.executable, "-c", _TESTING, str(folder), "-q", "--tb=no", "-rfE"),
                *(f"-pno:{plugin}" for plugin in _PLUGINS_OFF),
                *(f"--ignore=tests/{file}" for file in _ELSEWHERE),
                *(["-x"] if first_only else []),
                *(f"tests/{file}" for file in files or suites),
            ],
            cwd=folder,
            env=os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "examples")},
            check=False,
            capture_output=True,
            text=True,
        )
    if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"{mutant.name!r} cannot be tested:\n{done.stdout}{done.stderr}")
    return tuple(re.findall(r"^(?:FAILED|ERROR) tests/(.*?)(?: - .*)?$", done.stdout, re.MULTILINE))
