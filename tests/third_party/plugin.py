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


def _is_live() -> bool:
    return os.environ[WAY_VARIABLE] == LIVE


def pytest_sessionstart() -> None:
    # Not sooner: now there are settings.
    from tests.django_suite.live.worker import become_worker, commit_in_test_cases

    commit_in_test_cases()
    if _is_live():
        become_worker()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
    """Once there are tables, what goes through the log is the tests'."""
    result = yield
    if fixturedef.argname == "django_db_setup" and _is_live():
        from tests.django_suite.live.worker import CountingClient

        CountingClient.kind = "tests"
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    note(_outcomes, report)


def pytest_sessionfinish() -> None:
    if _is_live():
        from tests.django_suite.live.worker import tell

        tell(_outcomes)
    _outcomes.write(Path(os.environ[OUTCOMES_VARIABLE]))


def note(outcomes: Outcomes, report: pytest.TestReport) -> None:
    """A test has three reports, of which the worst counts: it may fail before it begins, or after."""
    name = report.nodeid
    if report.failed:
        outcomes.tests[name] = FAILED
        outcomes.reasons[name] = report.longreprtext
    elif report.skipped:
        outcomes.tests[name] = SKIPPED
        # A place and a reason; of one that was expected to fail, how it did.
        where = report.longrepr
        outcomes.reasons[name] = where[2] if isinstance(where, tuple) else report.longreprtext
    elif report.when == "call":
        outcomes.tests[name] = PASSED
