"""Whether the nodes' databases are equal row for row, asked again and again while tests run."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from raftdjango.backends.sqlite3.capture.tables import quote

PATIENCE_S = 60.0
INDEX = "SELECT applied_index FROM raftdjango_state"
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"


class NotEqual(AssertionError):
    """Nodes differ: what replication is there to prevent."""


class Replicas:
    """The files of one database, one of each node."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._connections: list[sqlite3.Connection] = []

    def index(self) -> int:
        """How far the first of them has come."""
        return int(self._connect()[0].execute(INDEX).fetchone()[0])

    def compare(self, patience_s: float = PATIENCE_S) -> int:
        """Wait until all have applied equally much, then compare every row; how many there were."""
        connections = self._connect()
        deadline = time.monotonic() + patience_s
        while True:
            with _snapshots(connections):
                indexes = [one.execute(INDEX).fetchone()[0] for one in connections]
                if len(set(indexes)) == 1:
                    return self._compare(connections)
            if time.monotonic() > deadline:
                raise NotEqual(
                    f"After {patience_s:.0f} s the nodes have applied up to {indexes}: {self._paths}"
                )
            time.sleep(0.002)

    def close(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def _connect(self) -> list[sqlite3.Connection]:
        if not self._connections:
            for path in self._paths:
                uri = f"file:{path}?mode=ro"
                self._connections.append(sqlite3.connect(uri, uri=True, isolation_level=None))
        return self._connections

    def _compare(self, connections: list[sqlite3.Connection]) -> int:
        first, *others = connections
        schema = first.execute(SCHEMA).fetchall()
        for path, other in zip(self._paths[1:], others, strict=True):
            if other.execute(SCHEMA).fetchall() != schema:
                raise NotEqual(f"The schema differs between {self._paths[0]} and {path}.")
        return sum(
            self._compare_table(connections, name) for kind, name, _, _ in schema if kind == "table"
        )

    def _compare_table(self, connections: list[sqlite3.Connection], name: str) -> int:
        tables = [one.execute(f"SELECT * FROM {quote(name)}").fetchall() for one in connections]
        # As text: 1 and 1.0 are equal, but not stored alike.
        if len(set(map(repr, tables))) == 1:
            return len(tables[0])
        # In which order a file tells its rows is its own business.
        first, *others = (sorted(map(repr, table)) for table in tables)
        for path, other in zip(self._paths[1:], others, strict=True):
            if other != first:
                ours = [row for row in first if row not in other][:3]
                theirs = [row for row in other if row not in first][:3]
                raise NotEqual(
                    f"{name} differs: {ours} only in {self._paths[0]}, {theirs} only in {path}."
                )
        return len(first)


@contextmanager
def _snapshots(connections: list[sqlite3.Connection]) -> Iterator[None]:
    with ExitStack() as stack:
        for connection in connections:
            connection.execute("BEGIN")
            stack.callback(connection.execute, "ROLLBACK")
        yield
