"""For applications whose tests are pytest's: the same as the test runner is for those of Django's kind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.django_suite.live.outcomes import (
    FAILED,
    OUTCOMES_VARIABLE,
    PASSED,
    SKIPPED,
    Outcomes,
)
from tests.django_suite.live.run import LIVE
from tests.third_party.applications import WAY_VARIABLE

_outcomes = Outcomes()
_live = os.environ[WAY_VARIABLE] == LIVE


def pytest_sessionstart() -> None:
    # Not sooner: now there are settings.
    from tests.django_suite.live.worker import become_worker, commit_in_test_cases

    commit_in_test_cases()
    if _live:
        become_worker()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
    """Once there are tables, what goes through the log is the tests'."""
    result = yield
    if _live and fixturedef.argname == "django_db_setup":
        from tests.django_suite.live.worker import CountingClient

        CountingClient.kind = "tests"
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _outcomes.tests[report.nodeid] = FAILED
        _outcomes.reasons[report.nodeid] = report.longreprtext
    elif report.skipped:
        _outcomes.tests[report.nodeid] = SKIPPED
        _outcomes.reasons[report.nodeid] = _reason(report)
    elif report.when == "call":
        _outcomes.tests[report.nodeid] = PASSED


def pytest_sessionfinish() -> None:
    if _live:
        from tests.django_suite.live.worker import tell

        tell(_outcomes)
    _outcomes.write(Path(os.environ[OUTCOMES_VARIABLE]))


def _reason(report: pytest.TestReport) -> str:
    """Of one that was skipped: a place and a reason; of one that was expected to fail: how it did."""
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
