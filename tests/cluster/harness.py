"""Real clusters: raftnode processes on the loopback, and workers that use their nodes."""

from __future__ import annotations

import json
import os
import queue
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import OperationalError

from raftdjango.backends.sqlite3.capture.tables import quote
from raftdjango.client.socket import SocketClient
from raftdjango.conf import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 60.0


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Poll until true and return what was true; a failure names what never came."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.02)
    return value


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


class WorkerError(Exception):
    """A script raised; `.kind` is the class's name."""

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(f"{kind}: {message}\n{trace}")
        self.kind = kind
        self.message = message


class Worker:
    """A process that runs scripts on one node, one at a time."""

    module = "tests.cluster.worker"

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.result()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def begin(self, script: str, *arguments: Any) -> Worker:
        """Start a script; `result()` awaits it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([script, arguments]) + "\n")
        self.process.stdin.flush()
        return self

    def result(self, timeout_s: float = PATIENCE_S) -> Any:
        """What the script returned; raises `WorkerError` where it raised."""
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise AssertionError(f"a worker did not answer within {timeout_s:.0f} s") from None
        if not line:
            raise AssertionError(f"a worker died: {Path(self._log.name).read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"], answer["message"], answer["traceback"])
        return answer["result"]

    def call(self, script: str, *arguments: Any, timeout_s: float = PATIENCE_S) -> Any:
        """Run a script to its end."""
        return self.begin(script, *arguments).result(timeout_s)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            assert stream is not None
            stream.close()
        self._reader.join()


class Cluster:
    """Nodes `n1`... in one folder."""

    def __init__(self, folder: Path, size: int = 3, **raftdjango: Any) -> None:
        self.folder = folder
        self.names = [f"n{n + 1}" for n in range(size)]
        self.urls = {
            name: f"http://127.0.0.1:{port}"
            for name, port in zip(self.names, free_ports(size), strict=True)
        }
        self.django_settings = "tests.cluster.project.settings"
        self.settings = {"SECRET": "what the nodes of the tests sign with", **raftdjango}
        self.listen: dict[str, str] = {}
        """Where nodes listen that are not reached at their own address, but through something else."""
        self.files = ["db.sqlite3"]
        """The replicated databases."""
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.workers: list[Worker] = []
        for name in self.names:
            (folder / name).mkdir(parents=True)
        self._clients = {name: self._client(name) for name in self.names}

    def _client(self, name: str) -> SocketClient:
        settings = Settings(
            node_id=name, nodes=self.urls, data_dir=self.data_dir(name), commit_timeout_s=2.0
        )
        return SocketClient("default", settings=settings, database=self.database(name))

    def data_dir(self, name: str) -> Path:
        return self.folder / name / "raft"

    def environment(self, name: str) -> dict[str, str]:
        """Environment of any process of a node."""
        node = {
            "database": str(self.database(name)),
            "raftdjango": {
                "NODE_ID": name,
                "NODES": self.urls,
                "DATA_DIR": str(self.data_dir(name)),
                **({"LISTEN": self.listen[name]} if name in self.listen else {}),
                **self.settings,
            },
        }
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": self.django_settings,
            "CLUSTER_NODE": json.dumps(node),
        }

    def database(self, name: str) -> Path:
        return self.folder / name / "db.sqlite3"

    def log_of(self, name: str) -> str:
        """What a node has printed, over all its lives."""
        return (self.folder / name / "raftnode.log").read_text()

    def start(self, *names: str, file_bytes_max: int | None = None) -> None:
        """Start nodes (all, if none is named); the system refuses them files that are larger."""

        def limit() -> None:
            if file_bytes_max is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))

        for name in names or self.names:
            with (self.folder / name / "raftnode.log").open("ab") as log:
                self.nodes[name] = subprocess.Popen(
                    [sys.executable, "-m", "django", "raftnode"],
                    cwd=ROOT,
                    env=self.environment(name),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=limit,
                )

    def signal(self, number: int, *names: str) -> None:
        """Send one signal to nodes, at the same moment."""
        for name in names or self.names:
            self.nodes[name].send_signal(number)

    def kill(self, *names: str) -> None:
        """`kill -9`."""
        self.signal(signal.SIGKILL, *names)
        for name in names or self.names:
            self.nodes[name].wait()

    def stop(self, name: str) -> int:
        """Ask politely; the exit code."""
        self.nodes[name].send_signal(signal.SIGTERM)
        return self.nodes[name].wait(PATIENCE_S)

    def manage(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command on a node, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def status(self, name: str) -> dict[str, Any] | None:
        """What `raftctl status --json` prints; None while the node does not answer."""
        try:
            return self._clients[name].status(timeout_s=2.0)
        except OperationalError:
            return None

    def leader(self, *among: str) -> str:
        """Wait until the nodes agree on a leader among themselves."""
        names = among or tuple(self.names)

        def agreed() -> str | None:
            seen = [self.status(name) for name in names]
            leaders = {status["leader"] for status in seen if status}
            return (
                leaders.pop() if all(seen) and len(leaders) == 1 and leaders <= set(names) else None
            )

        leader = wait_until(agreed, f"a leader that {', '.join(names)} agree on")
        assert isinstance(leader, str)
        return leader

    def worker(self, name: str) -> Worker:
        """A new worker on a node."""
        worker = Worker(self.environment(name), self.folder / name / "worker.log")
        self.workers.append(worker)
        return worker

    def dismiss_workers(self) -> None:
        """End all workers there are."""
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.close()

    def followers(self) -> list[str]:
        leader = self.leader()
        return [name for name in self.names if name != leader]

    def assert_equal(self, *names: str) -> None:
        """Wait until databases are of one applied index, then compare them row for row."""
        chosen = names or tuple(self.names)
        for file in self.files:

            def at_one_index(file: str = file) -> list[Dump] | None:
                dumps = [dump(self.folder / name / file) for name in chosen]
                return dumps if len({applied_index(d) for d in dumps}) == 1 else None

            first, *others = wait_until(at_one_index, f"equal applied indexes of {file}")
            for name, other in zip(chosen[1:], others, strict=True):
                for table in first.keys() | other.keys():
                    assert first.get(table) == other.get(table), (file, table, chosen[0], name)

    def assert_quiet_logs(self) -> None:
        """No node has printed a traceback."""
        for name in self.names:
            assert not re.search(r"^Traceback", self.log_of(name), re.MULTILINE), self.log_of(name)[
                -3000:
            ]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.dismiss_workers()
        for process in self.nodes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


Dump = dict[str, list[tuple[Any, ...]]]


def applied_index(contents: Dump) -> int:
    """How far a dumped database had come."""
    ((_, names),) = [row for row in contents["columns"] if row[0] == "raftdjango_state"]
    return int(contents["raftdjango_state"][0][names.index("applied_index")])


def dump(path: Path) -> Dump:
    """Every row of every table, the product's own and SQLite's included, on one snapshot."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        schema = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master"
        ).fetchall()
        tables = ["sqlite_master", *(name for kind, name, _, _ in schema if kind == "table")]
        contents: Dump = {"columns": []}
        for name in tables:
            cursor = connection.execute(f"SELECT * FROM {quote(name)}")
            contents["columns"].append((name, [column[0] for column in cursor.description]))
            contents[name] = sorted(cursor.fetchall(), key=repr)
        # Where SQLite put the pages is its own business.
        contents["sqlite_master"] = sorted(schema, key=repr)
        return contents
    finally:
        connection.close()
