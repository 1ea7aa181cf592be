"""What became of each test, kept by a run for whoever compares it with another."""

from __future__ import annotations

import json
import unittest
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
OUTCOMES_VARIABLE = "DJANGO_SUITE_OUTCOMES"
"""Names the file into which a run writes them."""


@dataclass
class Outcomes:
    """Of one label: what became of each test, by its id."""

    tests: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why a test was skipped, or the end of what it failed with."""
    entries: dict[str, int] = field(default_factory=dict)
    """What went through the log, by its kind."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What besides the tests took time."""
    declared: list[str] = field(default_factory=list)
    """Reasons for which the backend, or this way of running it, leaves tests out."""

    def note(self, test: Any, outcome: str, reason: str = "") -> None:
        """The worst counts: a test with subtests tells several times."""
        name = test.id()
        if self.tests.get(name) != FAILED:
            self.tests[name] = outcome
            if reason:
                self.reasons[name] = reason

    def of(self, outcome: str) -> list[str]:
        """The tests of which this became."""
        return sorted(name for name, each in self.tests.items() if each == outcome)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Outcomes:
        return cls(**json.loads(path.read_text()))


class RecordingResult(unittest.TextTestResult):
    """Prints as ever, and remembers."""

    outcomes: Outcomes
    """Set by the runner, on the class."""

    def addSuccess(self, test: Any) -> None:
        super().addSuccess(test)
        self.outcomes.note(test, PASSED)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.outcomes.note(test, FAILED, self.errors[-1][1])

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.outcomes.note(test, FAILED, self.failures[-1][1])

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self.outcomes.note(test, SKIPPED, reason)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            problems = self.failures if issubclass(err[0], test.failureException) else self.errors
            self.outcomes.note(test, FAILED, problems[-1][1])

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self.outcomes.note(test, SKIPPED, "expected to fail")

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.outcomes.note(test, FAILED, "It was expected to fail, and passed.")


def differences(stock: Outcomes, live: Outcomes) -> Iterator[str]:
    """What stock SQLite does and the cluster does not, in words, unless it is declared."""
    for name in sorted(stock.tests.keys() | live.tests.keys()):
        before, after = stock.tests.get(name), live.tests.get(name)
        if after == FAILED and before != FAILED:
            yield f"{name} fails (stock: {before or 'not run'}):\n{live.reasons.get(name, '')}"
        elif before == PASSED and after is None:
            yield f"{name} passes on stock and was not run."
        elif before == PASSED and after == SKIPPED and live.reasons.get(name) not in live.declared:
            yield f"{name} passes on stock and is skipped: {live.reasons.get(name)}"
