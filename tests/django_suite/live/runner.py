"""Django's test runner, with test cases that commit: on any backend, and on a node of a cluster."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connections, transaction
from django.test import TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner
from django.test.testcases import _AssertNumQueriesContext

from raftdjango.client import Outcome, use_client
from raftdjango.client.socket import SocketClient
from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    VerdictKind,
    WriteSet,
    decode_command,
)
from tests.django_suite.live.creation import LiveCreation
from tests.django_suite.live.equality import Replicas
from tests.django_suite.live.outcomes import Outcomes, RecordingResult

OUTCOMES_VARIABLE = "DJANGO_SUITE_OUTCOMES"


class CommittingRunner(DiscoverRunner):
    """Every `TestCase` behaves as on a database without transactions: it commits, and is flushed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes = RecordingResult.outcomes = Outcomes()
        TestCase._databases_support_transactions = classmethod(lambda cls: False)  # type: ignore[attr-defined]
        _AssertNumQueriesContext.__len__ = _queries  # type: ignore[method-assign]

    def get_resultclass(self) -> type[RecordingResult]:
        return RecordingResult

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        result = super().run_suite(suite, **kwargs)
        self.tell()
        self.outcomes.write(Path(os.environ[OUTCOMES_VARIABLE]))
        return result

    def tell(self) -> None:
        """Add what else is to be known of the run."""


def _queries(context: _AssertNumQueriesContext) -> int:
    """How many there were; BEGIN and COMMIT are none, where a test case that does not commit has none."""
    executed = [query["sql"] for query in context.captured_queries]
    if len(executed) == context.num:
        return len(executed)
    return sum(not sql.startswith(("BEGIN", "COMMIT")) for sql in executed)


class CountingClient(SocketClient):
    """A worker's client, which counts what goes through the log."""

    counted: Counter[str] = Counter()
    kind = "setup"
    _lock_of_all = threading.Lock()

    def propose(
        self,
        proposal_id: bytes,
        command: bytes,
        *,
        timeout_s: float,
        want_keys: Mapping[str, int] | None = None,
        keys_after: int = 0,
    ) -> Outcome:
        outcome = super().propose(
            proposal_id,
            command,
            timeout_s=timeout_s,
            want_keys=want_keys,
            keys_after=keys_after,
        )
        verdict = outcome.verdict
        applied = verdict.kind is VerdictKind.APPLIED
        with self._lock_of_all:
            self.counted[self.kind if applied else "refused"] += 1
            if not applied:
                self.counted[f"{verdict.kind.name} {verdict.table} {verdict.message}"] += 1
            self.counted["blind"] += applied and self.kind == "tests" and _is_blind(command)
        return outcome


def _is_blind(command: bytes) -> bool:
    """Whether it went without a local execution."""
    body = decode_command(command).body
    return isinstance(body, WriteSet) and any(
        isinstance(operation, BlindInsert | BlindUpdate | BlindDelete)
        for operation in body.operations
    )


class LiveRunner(CommittingRunner):
    """On the file of a node, as its web worker; the databases of all nodes are compared meanwhile."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from tests.django_suite.live.settings import NODE

        self.parallel = 1
        for alias, paths in NODE["replicas"].items():
            use_client(alias, lambda alias=alias: CountingClient(alias))
            connections[alias].creation = LiveCreation(connections[alias])
            _replicas[alias] = Replicas(paths)
        TransactionTestCase._fixture_teardown = _compare_and_flush  # type: ignore[method-assign]

    def run_suite(self, suite: Any, **kwargs: Any) -> Any:
        CountingClient.kind = "tests"
        return super().run_suite(suite, **kwargs)

    def tell(self) -> None:
        counted = CountingClient.counted
        self.outcomes.entries = {**counted, "comparisons": _compared[0], "rows": _compared[1]}
        comparing_s, flushing_s = _spent
        self.outcomes.seconds = {"comparing": comparing_s, "flushing": flushing_s}
        self.outcomes.declared = [
            reason
            for connection in connections.all()
            for reason in connection.features.django_test_skips
        ]


_replicas: dict[str, Replicas] = {}
_flushed: dict[str, int] = {}
"""The log index up to which nothing but a flush has happened, by alias."""
_compared = [0, 0]
_spent = [0.0, 0.0]
"""Seconds: waiting for the nodes and comparing them; flushing."""
_flush = TransactionTestCase._fixture_teardown


def _compare_and_flush(case: TransactionTestCase) -> None:
    """The nodes have to be equal after each test that wrote; then it is flushed through the log.

    A test that has written nothing leaves nothing to flush.
    """
    names: list[str] = case._databases_names(include_mirrors=False)  # type: ignore[attr-defined]
    touched = [alias for alias in names if _replicas[alias].index() != _flushed.get(alias)]
    began = time.monotonic()
    for alias in touched:
        _compared[0] += 1
        _compared[1] += _replicas[alias].compare()
    CountingClient.kind = "flushes"
    compared = time.monotonic()
    _spent[0] += compared - began
    try:
        if not isinstance(case, TestCase):
            _flush(case)
            return
        for alias in touched:
            _flush_at_once(case, alias)
            _flushed[alias] = _replicas[alias].index()
    finally:
        CountingClient.kind = "tests"
        _spent[1] += time.monotonic() - compared


def _flush_at_once(case: TestCase, alias: str) -> None:
    """As Django flushes, but as one entry.

    For a test case that names no applications it makes all content types and permissions anew, which
    would be some fifteen.
    """
    with transaction.atomic(using=alias):
        call_command(
            "flush",
            verbosity=0,
            interactive=False,
            database=alias,
            allow_cascade=case.available_apps is not None,
            reset_sequences=False,
            inhibit_post_migrate=case.available_apps is not None,
        )
