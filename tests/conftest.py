"""For the whole suite: with `RAFTDJANGO_SKIP_NOTHING` set, a test that would be skipped fails.

And no test fails for taking long: Hypothesis' deadline per example is off.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("raftdjango", deadline=None)
hypothesis.settings.load_profile("raftdjango")

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
