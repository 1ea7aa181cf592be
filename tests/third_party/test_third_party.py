"""That the right sources are run, and that what became of their tests is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sources
from tests.django_suite.live.outcomes import FAILED, PASSED, SKIPPED, Outcomes
from tests.third_party.__main__ import REPOSITORY, main
from tests.third_party.plugin import note


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with several versions, and without what pip could fetch."""
    for name in ("a-tree-9.1", "a-tree-10.0", "a-tree-11.0", "a-tree-house-10.5", "installed"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sources, "CACHE", tmp_path)
    monkeypatch.setattr(sources, "_fetch", lambda name, versions: Path("fetched"))
    return tmp_path


@pytest.mark.parametrize(
    ("versions", "folder"),
    [(">=9,<11", "a-tree-10.0"), ("==9.1", "a-tree-9.1"), (">=9", "a-tree-11.0")],
)
def test_the_newest_cached_version_that_fits(cache: Path, versions: str, folder: str) -> None:
    assert sources.sources("A-Tree", versions) == cache / folder


def test_what_is_not_cached_is_fetched(cache: Path) -> None:
    assert sources.sources("a-tree", ">=12") == Path("fetched")
    assert sources.sources("another", ">=1") == Path("fetched")


def report(when: str, outcome: str, reason: object = None) -> pytest.TestReport:
    return pytest.TestReport("a::test", ("a", 1, "test"), {}, outcome, reason, when)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reports", "outcome"),
    [
        (
            [report("setup", "passed"), report("call", "passed"), report("teardown", "passed")],
            PASSED,
        ),
        (
            [report("setup", "passed"), report("call", "failed"), report("teardown", "passed")],
            FAILED,
        ),
        (
            [report("setup", "passed"), report("call", "passed"), report("teardown", "failed")],
            FAILED,
        ),
        ([report("setup", "failed"), report("teardown", "passed")], FAILED),
        ([report("setup", "skipped", ("a", 1, "why")), report("teardown", "passed")], SKIPPED),
    ],
)
def test_what_becomes_of_a_test(reports: list[pytest.TestReport], outcome: str) -> None:
    outcomes = Outcomes()
    for each in reports:
        note(outcomes, each)
    assert outcomes.tests == {"a::test": outcome}
    if outcome == SKIPPED:
        assert outcomes.reasons == {"a::test": "why"}


def test_a_package_of_the_same_name_comes_first(tmp_path: Path) -> None:
    theirs = tmp_path / "tests"
    theirs.mkdir()
    (theirs / "__init__.py").touch()
    (theirs / "settings.py").write_text("THEIRS = True")
    script = (
        "import runpy, sys; runpy.run_path(sys.argv[1])['share_the_name']();"
        "import tests.settings, tests.third_party; print(tests.settings.THEIRS)"
    )
    process = REPOSITORY / "tests" / "third_party" / "process.py"
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(process)],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"


def test_an_unknown_application(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["brief", "django-tree"]) == 2
    assert "django-tree.  There are django-treebeard" in capsys.readouterr().out
