"""Raftnodes for tests: several in one process on one loop in a thread, with blocking clients."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from raftdjango.client import proposal_ids
from raftdjango.client.socket import SocketClient
from raftdjango.conf import Settings
from raftdjango.node.process import RaftNode
from raftdjango.writeset import (
    BlindInsert,
    Command,
    Pins,
    Statement,
    Table,
    VerdictKind,
    WriteSet,
    encode_command,
)
from tests.node.network import MemoryNetwork

GROUP = "default"
PATIENCE_S = 30.0
NOTES = Table("note", ("id", "text"), (0,))


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Poll until true; a failure names what never came."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.005)
    return value


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run on the loop; its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call on the loop; its result."""

        async def called() -> Any:
            return function(*arguments)

        return self.run(called())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)
        self.loop.close()


class Cluster:
    """Nodes n1, n2, ... over an in-memory network, each with its files under one folder."""

    def __init__(self, size: int = 3, **settings: Any) -> None:
        # A short path: a socket's name has few bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="rn"))
        self.network = MemoryNetwork()
        self.names = [f"n{number + 1}" for number in range(size)]
        self.nodes: dict[str, RaftNode] = {}
        self._clients: list[SocketClient] = []
        self._settings = {"election_timeout_ms": 300, "heartbeat_ms": 50, **settings}
        self.thread = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for client in self._clients:
            client.close()
        for name in list(self.nodes):
            self.crash(name)
        self.thread.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def settings(self, name: str) -> Settings:
        """Settings of one node."""
        return Settings(
            node_id=name,
            nodes={each: f"http://127.0.0.1:1/{each}" for each in self.names},
            data_dir=self.folder / name,
            **self._settings,
        )

    def database(self, name: str) -> Path:
        """Database file of one node."""
        return self.folder / f"{name}.db"

    def start(self, *names: str) -> Cluster:
        """Start nodes; all if none is named."""

        async def start(name: str) -> None:
            node = RaftNode(
                self.settings(name),
                {GROUP: self.database(name)},
                transport=self.network.connect,
                with_http=False,
            )
            await node.start()
            self.nodes[name] = node

        for name in names or self.names:
            self.thread.run(start(name))
        return self

    def stop(self, name: str) -> None:
        """Stop a node in good order."""
        self.thread.run(self.nodes.pop(name).stop())

    def crash(self, name: str) -> None:
        """Stop a node without a word to anybody."""
        node = self.nodes.pop(name)
        node.request_stop()
        node.request_stop()
        self.thread.run(node.stop())

    def client(self, name: str) -> SocketClient:
        """A client of one node."""
        client = SocketClient("default", settings=self.settings(name), database=self.database(name))
        self._clients.append(client)
        return client

    def status(self, name: str) -> dict[str, Any]:
        """A node's status, asked on its loop."""
        return self.thread.call(self.nodes[name].groups[GROUP].status)

    def leader(self, among: Iterable[str] | None = None) -> str:
        """Wait until the running nodes agree on a leader among them, and all are ready."""

        def agreed() -> str | None:
            names = list(among or self.nodes)
            found = [self.status(name) for name in names]
            leaders = {status["leader"] for status in found}
            ready = all(status["ready"] for status in found)
            leader = leaders.pop() if len(leaders) == 1 else None
            return leader if ready and leader in names else None

        return wait_until(agreed, "a leader")

    def level(self) -> None:
        """Wait until the running nodes have applied the same."""

        def same() -> bool:
            found = [self.status(name) for name in self.nodes]
            indexes = {s["applied_index"] for s in found} | {s["last_index"] for s in found}
            return len(indexes) == 1

        wait_until(same, "equal applied indexes")

    def rows(self, name: str, sql: str = "SELECT id, text FROM note ORDER BY id") -> list[Any]:
        """Rows of a node's database."""
        with closing(sqlite3.connect(self.database(name))) as connection:
            return connection.execute(sql).fetchall()


def command(body: Any, *, client: SocketClient, expires_in_ms: int = 20_000) -> tuple[bytes, bytes]:
    """(proposal id, encoded command) that expires as a worker's would."""
    proposal_id = proposal_ids.next()
    expires_at_ms = client.cluster_time_ms() + expires_in_ms
    return proposal_id, encode_command(Command(proposal_id, expires_at_ms, body))


def make_table(client: SocketClient) -> int:
    """Make the table `note`; the schema version that it gives."""
    return run_sql(client, "CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")


def run_sql(client: SocketClient, *statements: str) -> int:
    """Have statements run on every node, each as an entry; the schema version that the last gives."""
    pins = Pins(b"\0" * 16, "2026-01-01 00:00:00.000")
    version = 0
    for sql in statements:
        write_set = WriteSet(0, (Statement(sql, (), pins),))
        outcome = client.propose(*command(write_set, client=client), timeout_s=PATIENCE_S)
        assert outcome.verdict.kind is VerdictKind.APPLIED, outcome
        version = outcome.log_index
    return version


def insert(schema_version: int, key: int, text: str) -> WriteSet:
    """A write-set that inserts one note."""
    return WriteSet(schema_version, (BlindInsert(NOTES, (0, 1), (key, text)),))
