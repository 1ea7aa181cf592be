"""A web worker of one node that runs tests: what it writes is counted, and the nodes are compared meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.test import TestCase, TransactionTestCase
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
from tests.django_suite.live.outcomes import Outcomes
from tests.django_suite.live.settings import NODE


def commit_in_test_cases() -> None:
    """Every `TestCase` behaves as on a database without transactions: it commits, and is flushed."""
    TestCase._databases_support_transactions = classmethod(lambda cls: False)  # type: ignore[attr-defined]
    TestCase._fixture_setup = classmethod(_set_up)  # type: ignore[assignment,method-assign]
    _AssertNumQueriesContext.__len__ = _queries  # type: ignore[method-assign]


def _set_up(case: type[TestCase]) -> None:
    """As Django does without transactions; in one, though, if the rows are consistent at its end only.

    Rows that a failure left behind would be the next test's.
    """
    aliases: list[str] = case._databases_names(include_mirrors=False)  # type: ignore[attr-defined]
    try:
        try:
            case.setUpTestData()
        except IntegrityError:
            # Django has made content types before this, also for a case that names its applications.
            _flush_all(case, aliases, restores=True)
            with ExitStack() as blocks:
                for alias in aliases:
                    blocks.enter_context(transaction.atomic(using=alias))
                case.setUpTestData()
    except BaseException:
        _flush_all(case, aliases, restores=_restores(case))
        raise
    super(TestCase, case)._fixture_setup()  # type: ignore[misc]


def _flush_all(case: type[TestCase], aliases: list[str], *, restores: bool) -> None:
    for alias in aliases:
        _flush_at_once(case, alias, restores=restores)


def _queries(context: _AssertNumQueriesContext) -> int:
    """How many there were; BEGIN and COMMIT are none, where a test case that does not commit has none."""
    executed = [query["sql"] for query in context.captured_queries]
    if len(executed) == context.num:
        return len(executed)
    return sum(not sql.startswith(("BEGIN", "COMMIT")) for sql in executed)


def become_worker() -> None:
    """Use the files of a node as its web worker; compare the databases of all nodes after each test."""
    for alias in connections:
        use_client(alias, lambda alias=alias: CountingClient(alias))
        connections[alias].creation = LiveCreation(connections[alias])
        _replicas[alias] = Replicas(NODE["replicas"][alias])
    TransactionTestCase._fixture_teardown = _compare_and_flush  # type: ignore[method-assign]


def tell(outcomes: Outcomes) -> None:
    """Add what went through the log, what took time, and which tests the backend leaves out."""
    counted = CountingClient.counted
    outcomes.entries = {**counted, "comparisons": _compared[0], "rows": _compared[1]}
    comparing_s, flushing_s = _spent
    outcomes.seconds = {"comparing": comparing_s, "flushing": flushing_s}
    outcomes.declared = [
        reason
        for connection in connections.all()
        for reason in connection.features.django_test_skips
    ]


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


@dataclass(frozen=True)
class Flush:
    """Whether another one would change anything: not if it is of the same kind, and nothing was written."""

    index: int
    """To where it brought the log."""
    restores: bool
    """Whether content types and permissions were made anew, rather than left away."""


_replicas: dict[str, Replicas] = {}
_flushed: dict[str, Flush] = {}
"""The last one of each alias."""
_compared = [0, 0]
_spent = [0.0, 0.0]
"""Seconds: waiting for the nodes and comparing them; flushing."""
_flush = TransactionTestCase._fixture_teardown


def _compare_and_flush(case: TransactionTestCase) -> None:
    """The nodes have to be equal after each test that wrote; then it is flushed through the log.

    A test that has written nothing leaves nothing to flush, if the flush before it was the same.
    """
    names: list[str] = case._databases_names(include_mirrors=False)  # type: ignore[attr-defined]
    restores = _restores(case)
    before = {alias: _flushed.get(alias) for alias in names}
    indexes = {alias: _replicas[alias].index() for alias in names}
    touched = [name for name, flush in before.items() if not flush or flush.index != indexes[name]]
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
        for alias in names:
            if before[alias] != Flush(indexes[alias], restores):
                _flush_at_once(case, alias, restores=restores)
                _flushed[alias] = Flush(_replicas[alias].index(), restores)
    finally:
        CountingClient.kind = "tests"
        _spent[1] += time.monotonic() - compared


def _restores(case: TransactionTestCase | type[TestCase]) -> bool:
    """Whether Django's flush after it makes content types anew: not if it names its applications.

    Then they are made before the next test that names some.
    """
    return case.available_apps is None


def _flush_at_once(case: TestCase | type[TestCase], alias: str, *, restores: bool) -> None:
    """As Django flushes, but as one entry: content types and permissions would be some fifteen."""
    with transaction.atomic(using=alias):
        call_command(
            "flush",
            verbosity=0,
            interactive=False,
            database=alias,
            allow_cascade=not _restores(case),
            reset_sequences=False,
            inhibit_post_migrate=not restores,
        )
