"""A cluster of one inside the test's own process: no node, no sockets, the real applier.

Every proposal is encoded, decoded and applied by `raftdjango.applier` through a second connection to
the same file, one at a time; inside Django's `TestCase`, on the test's own connection.  So tests
exercise the whole way of a write except for the network.

In verify mode each write-set carries a digest of the tables it touches, and the applier compares:
whatever capture had missed fails the test that wrote it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from raftdjango.applier import (
    Applier,
    LogEntry,
    expected_digest,
    open_database,
    stored_outcome,
)
from raftdjango.applier.winners import Winners
from raftdjango.backends.sqlite3.capture.tables import quote
from raftdjango.client import Outcome
from raftdjango.client.local_database import local_outcome
from raftdjango.exceptions import ClusterUnavailable
from raftdjango.testing import faults
from raftdjango.testing.courtesy import Courtesy
from raftdjango.writeset import VerdictKind, WriteSet, decode_command, encode_command

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

    from raftdjango.backends.sqlite3.base import DatabaseWrapper
    from raftdjango.client.uncertain import Uncertain

TURN_S_MAX = 2.0
TRANSACTION_BYTES_MAX = 64 * 1024 * 1024
FOREIGN_KEY_FAILED = "FOREIGN KEY constraint failed"
APPLIED_INDEX_SQL = "SELECT applied_index FROM main.raftdjango_state"


class Leases:
    """Keys that other threads were given and have not written yet.

    A test of one thread sees the keys of stock Django; several threads never see the same ones.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outstanding: dict[threading.Thread, dict[str, range]] = {}

    def take(self, table: str, count: int, last_key: Callable[[], int]) -> range:
        """`count` keys behind the last one; the thread's earlier ones of the table are forgotten."""
        me = threading.current_thread()
        with self._lock:
            first = last_key() + 1
            for thread, leases in list(self._outstanding.items()):
                if not thread.is_alive():
                    del self._outstanding[thread]
                elif thread is not me and table in leases:
                    first = max(first, leases[table].stop)
            keys = range(first, first + count)
            self._outstanding.setdefault(me, {})[table] = keys
        return keys

    def used(self) -> None:
        """What this thread was given is in the database now, or never will be."""
        with self._lock:
            self._outstanding.pop(threading.current_thread(), None)


class Consensus:
    """The log and the applier of one database file in this process."""

    _all: ClassVar[dict[tuple[int, str], Consensus]] = {}
    _allowed: ClassVar[set[str]] = set()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.leases = Leases()
        self.winners = Winners()
        self.turn: bytes | None = None
        """The proposal id that has an exclusive turn."""
        self.turn_over = threading.Condition()
        self.connection = open_database(path)
        self.applier = Applier(self.connection, patience_s=30.0)
        self.applier.prepare()
        self._started = time.monotonic()
        self._time_ms = self.applier.state.time_ms

    @classmethod
    def allow(cls, path: str) -> None:
        """Make a file a test database: no other may be written without its cluster."""
        with cls._lock:
            cls._allowed.add(_absolute(path))
        cls.of(path)

    @classmethod
    def of(cls, path: str) -> Consensus:
        """The consensus of a test database; a forked child has its own."""
        path = _absolute(path)
        key = os.getpid(), path
        with cls._lock:
            if path not in cls._allowed:
                raise ClusterUnavailable(
                    f"{path} is not a test database of this process; "
                    "what is written to it must go through its node."
                )
            if key not in cls._all:
                cls._all[key] = cls(path)
            return cls._all[key]

    @classmethod
    def close(cls, path: str, *, forget: bool = False) -> bool:
        """Close the file, if it is open here; whether it was a test database."""
        path = _absolute(path)
        with cls._lock:
            consensus = cls._all.pop((os.getpid(), path), None)
            known = path in cls._allowed
            if forget:
                cls._allowed.discard(path)
        if consensus is not None:
            consensus.connection.close()
        return known

    def time_ms(self) -> int:
        """Cluster time: never goes back, and is nobody's clock."""
        return self._time_ms + int((time.monotonic() - self._started) * 1000) + 1

    def propose(self, command: bytes, captured_at: int | None) -> Outcome:
        """Apply a command as the next entry."""
        with self.lock:
            index = self.applier.state.applied_index + 1
            if captured_at is not None and captured_at + 1 != index:
                # Others wrote in between: the tables cannot be as the speculation left them.
                command = _without_digest(command)
            entry = LogEntry(index, 1, self.time_ms(), command)
            (applied,) = self.applier.apply_batch([entry])
        assert applied.verdict is not None
        self.winners.note(index, command, applied.verdict)
        won = self.winners.find(index, applied.verdict)
        return Outcome(applied.verdict, index, winner_index=won or index)

    @contextmanager
    def in_turn(self, proposal_id: bytes) -> Iterator[None]:
        """Wait for the end of another proposal's turn; this one's ends with it."""
        with self.turn_over:
            self.turn_over.wait_for(lambda: self.turn in (None, proposal_id), TURN_S_MAX)
        try:
            yield
        finally:
            self.end_turn(proposal_id)

    def take_turn(self, proposal_id: bytes, timeout_s: float) -> bool:
        """Wait until nobody has a turn, and take it."""
        with self.turn_over:
            if free := self.turn_over.wait_for(lambda: self.turn is None, timeout_s):
                self.turn = proposal_id
            return free

    def end_turn(self, proposal_id: bytes) -> None:
        """Give a turn back."""
        with self.turn_over:
            if self.turn == proposal_id:
                self.turn = None
                self.turn_over.notify_all()


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _without_digest(encoded: bytes) -> bytes:
    command = decode_command(encoded)
    if not isinstance(command.body, WriteSet) or not command.body.expected_digest:
        return encoded
    return encode_command(replace(command, body=replace(command.body, expected_digest=b"")))


def _without_foreign_keys(encoded: bytes) -> bytes:
    command = decode_command(encoded)
    assert isinstance(command.body, WriteSet)
    return encode_command(replace(command, body=replace(command.body, foreign_keys_off=True)))


class InProcessClient:
    """`NodeClient` of tests; made by `raftdjango.client.connect()` once `switch_to_tests` was called."""

    transaction_bytes_max = TRANSACTION_BYTES_MAX
    in_process = True

    def __init__(self) -> None:
        self._wrapper: Callable[[], DatabaseWrapper | None] = lambda: None
        self._captured_at: int | None = None
        self._nested: tuple[sqlite3.Connection, Applier] | None = None

    def bind(self, wrapper: DatabaseWrapper) -> None:
        """Called by the connection that this client is for."""
        self._wrapper = weakref.ref(wrapper)

    @property
    def wrapper(self) -> DatabaseWrapper:
        """The connection that this client is for."""
        wrapper = self._wrapper()
        assert wrapper is not None
        return wrapper

    @property
    def consensus(self) -> Consensus:
        """The consensus of the connection's present database file."""
        return Consensus.of(str(self.wrapper.settings_dict["NAME"]))

    @property
    def right_of_way(self) -> Courtesy:
        """Among the threads that use the file."""
        return Courtesy.of(str(self.wrapper.settings_dict["NAME"]))

    # -- NodeClient -----------------------------------------------------------------------------

    def cluster_time_ms(self) -> int:
        """Present cluster time."""
        return self.consensus.time_ms()

    def propose(
        self,
        proposal_id: bytes,
        command: bytes,
        *,
        timeout_s: float,
        want_keys: Mapping[str, int] | None = None,
        keys_after: int = 0,
    ) -> Outcome:
        """Apply at once."""
        captured_at, self._captured_at = self._captured_at, None
        consensus = self.consensus
        try:
            with consensus.in_turn(proposal_id):
                return faults.pass_on(
                    self.wrapper.alias,
                    command,
                    lambda: consensus.applier.state.applied_index,
                    lambda: consensus.propose(command, captured_at),
                )
        finally:
            consensus.leases.used()

    def refresh(self, *, timeout_s: float) -> int:
        """The applied index; there is nobody to lag behind."""
        if self.wrapper.replication.nested.active:
            connection = self.wrapper.connection
            return int(connection.execute(APPLIED_INDEX_SQL).fetchone()[0])
        return self.consensus.applier.state.applied_index

    def lease_keys(
        self, table: str, count: int, *, timeout_s: float, after: int = 0, above: int = 0
    ) -> range:
        """The keys that stock Django would give: right behind those in use, no block kept back."""
        return self.consensus.leases.take(table, count, lambda: self._last_key(table))

    def _last_key(self, table: str) -> int:
        """As the connection's own snapshot has it, what the test has not committed included."""
        connection = self.wrapper.connection
        largest = f"SELECT max(rowid) FROM main.{quote(table)}"  # noqa: S608 - quoted
        last = int(connection.execute(largest).fetchone()[0] or 0)
        known = connection.execute(
            "SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'"
        ).fetchone()
        if known:
            row = connection.execute(
                "SELECT seq FROM main.sqlite_sequence WHERE name = ?", (table,)
            ).fetchone()
            last = max(last, int(row[0] or 0) if row else 0)
        return last

    def take_turn(self, proposal_id: bytes, *, timeout_s: float, longest_s: float = 0) -> bool:
        """See `raftdjango.client.NodeClient.take_turn`."""
        return self.consensus.take_turn(proposal_id, timeout_s)

    def end_turn(self, proposal_id: bytes) -> None:
        """See `raftdjango.client.NodeClient.end_turn`."""
        self.consensus.end_turn(proposal_id)

    def resolve(self, uncertain: Uncertain, *, timeout_s: float) -> bool | None:
        """At once: what was not applied when it was proposed never will be."""
        if self.wrapper.replication.nested.active:
            found = stored_outcome(self.wrapper.connection, uncertain.proposal_id)
            return found is not None and found[0].kind is VerdictKind.APPLIED
        verdict, _ = local_outcome(Path(self.consensus.path), uncertain.proposal_id)
        return verdict is not None and verdict.kind is VerdictKind.APPLIED

    def status(self, *, timeout_s: float) -> dict[str, Any]:
        """As a cluster of one."""
        index = self.refresh(timeout_s=timeout_s)
        member = {"id": "test", "address": "", "role": "leader", "match_index": index, "lag": 0}
        return {
            "node": "test",
            "cluster_id": None,
            "role": "leader",
            "term": 1,
            "leader": "test",
            "commit_index": index,
            "applied_index": index,
            "members": [{**member, "last_contact_ms": 0}],
        }

    def close(self) -> None:
        """Nothing is held but what all clients of the file share."""
        self._nested = None

    # -- what only tests can do -----------------------------------------------------------------

    def propose_nested(self, connection: sqlite3.Connection, command: bytes) -> Outcome:
        """Apply inside the transaction of a test case, on its own connection."""
        return faults.pass_on(
            self.wrapper.alias,
            command,
            lambda: int(connection.execute(APPLIED_INDEX_SQL).fetchone()[0]),
            lambda: self._apply_nested(connection, command),
        )

    def _apply_nested(self, connection: sqlite3.Connection, command: bytes) -> Outcome:
        self._captured_at = None
        if self._nested is None or self._nested[0] is not connection:
            pinning = self.wrapper.replication.capture.pinning
            self._nested = connection, Applier(connection, nested=True, pinning=pinning)
        index = int(connection.execute(APPLIED_INDEX_SQL).fetchone()[0]) + 1
        entry = LogEntry(index, 1, self.consensus.time_ms(), command)
        verdict = self._nested[1].apply_nested(entry)
        if verdict.message == FOREIGN_KEY_FAILED:
            # As in any TestCase, a deferred foreign key is looked at when the test ends.
            entry = replace(entry, command=_without_foreign_keys(command))
            connection.execute("DELETE FROM main.raftdjango_outcome WHERE log_index = ?", (index,))
            connection.execute("UPDATE main.raftdjango_state SET applied_index = ?", (index - 1,))
            verdict = self._nested[1].apply_nested(entry)
        return Outcome(verdict, index, winner_index=index)

    def verifiable(self, connection: sqlite3.Connection, write_set: WriteSet) -> WriteSet:
        """In verify mode, the write-set with the digest that the applier compares."""
        if not self.wrapper.settings_dict["TEST"].get("VERIFY", False):
            return write_set
        self._captured_at = int(connection.execute(APPLIED_INDEX_SQL).fetchone()[0])
        return replace(write_set, expected_digest=expected_digest(connection, write_set))
