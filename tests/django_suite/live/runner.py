"""Django's test runner, with test cases that commit: on any backend, and on a node of a cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner

from tests.django_suite.live.outcomes import OUTCOMES_VARIABLE, Outcomes, RecordingResult
from tests.django_suite.live.worker import (
    CountingClient,
    become_worker,
    commit_in_test_cases,
    tell,
)


class CommittingRunner(DiscoverRunner):
    """Tells what became of each test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes = RecordingResult.outcomes = Outcomes()
        commit_in_test_cases()

    def get_resultclass(self) -> type[RecordingResult]:
        return RecordingResult

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        result = super().run_suite(suite, **kwargs)
        self.tell()
        self.outcomes.write(Path(os.environ[OUTCOMES_VARIABLE]))
        return result

    def tell(self) -> None:
        """Add what else is to be known of the run."""


class LiveRunner(CommittingRunner):
    """The same on the files of a node."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parallel = 1
        become_worker()

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        CountingClient.kind = "tests"
        return super().run_suite(suite, **kwargs)

    def tell(self) -> None:
        tell(self.outcomes)
