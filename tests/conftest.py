"""For the whole suite: with `RAFTDJANGO_SKIP_NOTHING` set, a test that would be skipped fails."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

SKIP_NOTHING = bool(os.environ.get("RAFTDJANGO_SKIP_NOTHING"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if SKIP_NOTHING and report.skipped and not hasattr(report, "wasxfail"):
        reason: Any = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which continuous integration does not allow: {reason}"
    return report
