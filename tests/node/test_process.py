"""`manage.py raftnode` as an operator meets it: real processes, one node."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from raftdjango.client.socket import SocketClient
from raftdjango.conf import Settings
from raftdjango.writeset import VerdictKind
from tests.node.nodes import PATIENCE_S, command, insert, make_table, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


class Machine:
    """A folder with one node's files, and its raftnode."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rn"))
        self.database = self.folder / "db.sqlite3"
        self.data_dir = self.folder / "raft"
        self.output = self.folder / "output.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.clients: list[SocketClient] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"

    def environment(self, settings: dict[str, Any]) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.node.process_settings",
            "NODE_TEST_FOLDER": str(self.folder),
            "NODE_TEST_SETTINGS": json.dumps({"NODES": {"n1": self.url}, **settings}),
        }

    def launch(self, *arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "django", "raftnode", *arguments],
                cwd=ROOT,
                env=self.environment(settings),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def start(self, **settings: Any) -> None:
        """Start the raftnode and wait until it is ready."""
        lives = self.log().count("ready\n")
        self.process = self.launch(**settings)
        wait_until(lambda: self.log().count("n1 ready\n") > lives or self.died(), "ready")
        assert not self.died(), self.log()

    def died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def end(self, number: int) -> int:
        """Send a signal and wait for the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def run(self, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a raftnode to its end."""
        return subprocess.run(
            [sys.executable, "-m", "django", "raftnode", *arguments],
            cwd=ROOT,
            env=self.environment(settings),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def refusal(self, *arguments: str, **settings: Any) -> str:
        """Start a node that must not: the one line that it says."""
        process = self.run(*arguments, **settings)
        assert process.returncode == 1, process
        assert "Traceback" not in process.stderr
        line, *more = process.stderr.strip().splitlines()
        assert not more, process.stderr
        return line

    def client(self) -> SocketClient:
        settings = Settings(nodes={"n1": self.url}, data_dir=self.data_dir)
        client = SocketClient("default", settings=settings, database=self.database)
        self.clients.append(client)
        return client

    def keys(self) -> list[int]:
        with closing(sqlite3.connect(self.database)) as connection:
            return [key for (key,) in connection.execute("SELECT id FROM note ORDER BY id")]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    try:
        yield machine
    finally:
        machine.close()


def write(client: SocketClient, version: int, key: int) -> None:
    proposal = command(insert(version, key, "x"), client=client)
    outcome = client.propose(*proposal, timeout_s=PATIENCE_S)
    assert outcome.verdict.kind is VerdictKind.APPLIED


def test_nothing_acknowledged_is_lost_by_kill_9_and_writers_wait(machine):
    machine.start()
    client = machine.client()
    version = make_table(client)
    acknowledged: list[int] = []
    enough = threading.Event()

    def writer() -> None:
        key = 1
        while not enough.is_set():
            write(client, version, key)
            acknowledged.append(key)
            key += 1

    thread = threading.Thread(target=writer)
    thread.start()
    for _ in range(2):
        count = len(acknowledged)
        wait_until(lambda count=count: len(acknowledged) > count + 20, "writes")
        machine.end(signal.SIGKILL)
        machine.start()
    count = len(acknowledged)
    wait_until(lambda: len(acknowledged) > count, "a write after the restart")
    enough.set()
    thread.join(PATIENCE_S)
    assert machine.keys() == acknowledged


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_stops_in_good_order(machine, number):
    machine.start()
    write(machine.client(), make_table(machine.client()), 1)
    assert machine.end(number) == 0
    assert "n1 has stopped" in machine.log()
    assert "Traceback" not in machine.log()
    assert not (machine.data_dir / "default" / "node.sock").exists()


def test_lines_of_the_log_have_date_and_time_in_utc_whatever_the_time_zone(machine):
    before = dt.datetime.now(dt.UTC)
    machine.start()
    machine.end(signal.SIGTERM)
    lines = [line for line in machine.log().splitlines() if line != "raftnode n1 ready"]
    stamps = [line.split(" ", 1)[0] for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", s) for s in stamps), lines
    times = list(map(dt.datetime.fromisoformat, stamps))
    assert before - dt.timedelta(seconds=1) <= min(times) <= max(times) <= dt.datetime.now(dt.UTC)


def test_started_again_it_is_the_same_cluster(machine):
    machine.start()
    before = machine.client().status(timeout_s=PATIENCE_S)["cluster_id"]
    machine.end(signal.SIGTERM)
    machine.start()
    assert machine.client().status(timeout_s=PATIENCE_S)["cluster_id"] == before


def test_a_second_raftnode_on_the_same_directory_is_refused(machine):
    machine.start()
    assert machine.process is not None
    line = machine.refusal()
    assert f"Another raftnode (process {machine.process.pid}) runs on this data dir" in line
    machine.client().refresh(timeout_s=PATIENCE_S)


def test_a_socket_left_by_a_dead_node_is_replaced(machine):
    machine.start()
    machine.end(signal.SIGKILL)
    assert (machine.data_dir / "default" / "node.sock").exists()
    machine.start()
    machine.client().refresh(timeout_s=PATIENCE_S)


def test_a_lost_database_is_made_again_from_the_log(machine):
    machine.start()
    version = make_table(machine.client())
    for key in (1, 2, 3):
        write(machine.client(), version, key)
    machine.end(signal.SIGTERM)
    for path in machine.folder.glob("db.sqlite3*"):
        path.unlink()
    machine.start()
    machine.client().refresh(timeout_s=PATIENCE_S)
    assert machine.keys() == [1, 2, 3]


def test_a_lost_log_is_refused(machine):
    machine.start()
    machine.end(signal.SIGTERM)
    shutil.rmtree(machine.data_dir)
    assert "the log was lost" in machine.refusal()


def test_a_log_without_identity_is_refused(machine):
    machine.start()
    machine.end(signal.SIGTERM)
    (machine.data_dir / "default" / "identity.json").unlink()
    assert "identity.json is missing" in machine.refusal()


def test_a_data_directory_of_another_node_is_refused(machine):
    machine.start()
    machine.end(signal.SIGTERM)
    line = machine.refusal(NODE_ID="n2", NODES={"n2": machine.url})
    assert "belongs to node 'n1', and this is node 'n2'" in line


def test_a_database_of_another_cluster_is_refused(machine):
    machine.start()
    machine.end(signal.SIGTERM)
    other = Machine()
    try:
        other.start()
        other.end(signal.SIGTERM)
        for path in machine.folder.glob("db.sqlite3*"):
            path.unlink()
        shutil.copy(other.database, machine.database)
        assert "belongs to cluster" in machine.refusal()
    finally:
        other.close()


def test_a_database_with_somebody_elses_tables_is_refused_and_unchanged(machine):
    with closing(sqlite3.connect(machine.database)) as connection:
        connection.execute("CREATE TABLE precious (id INTEGER PRIMARY KEY)")
    before = machine.database.read_bytes()
    assert "holds tables (precious)" in machine.refusal()
    assert machine.database.read_bytes() == before
    assert [path.name for path in machine.folder.iterdir()] == ["db.sqlite3"]


def test_a_damaged_log_is_refused_naming_file_and_offset(machine):
    machine.start()
    version = make_table(machine.client())
    for key in range(1, 20):
        write(machine.client(), version, key)
    machine.end(signal.SIGTERM)
    segment = min(
        path
        for path in (machine.data_dir / "default" / "log").iterdir()
        if path.stat().st_size > 4096
    )
    content = bytearray(segment.read_bytes())
    content[1000] ^= 0xFF
    segment.write_bytes(content)
    line = machine.refusal()
    assert "is damaged" in line
    assert segment.name in line


def test_a_port_in_use_is_one_line(machine):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = machine.refusal(NODES={"n1": f"http://127.0.0.1:{port}"})
    assert f"127.0.0.1:{port}: the port is in use" in line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"NODE_ID": "n9"}, "n9"),
        ({"UNKNOWN": 1}, "UNKNOWN"),
        ({"HEARTBEAT_MS": 5000}, "HEARTBEAT_MS"),
        ({"NODES": {"n1": "http://192.0.2.1:7001"}}, "SECRET"),
        ({"DATA_DIR": "/tmp/" + "deep" * 40}, "DATA_DIR"),
    ],
)
def test_a_mistake_in_the_settings_is_told_before_anything_is_written(machine, settings, words):
    process = machine.run(**settings)
    assert process.returncode == 1
    assert words in process.stderr
    assert "Traceback" not in process.stderr
    assert list(machine.folder.iterdir()) == []


def test_health_is_503_with_the_reason_while_the_node_cannot_apply(machine):
    machine.start()
    client = machine.client()
    version = make_table(client)
    url = machine.url + "/raft/v1/health/ready"
    assert requests.get(url, timeout=PATIENCE_S).status_code == 200
    writer = threading.Thread(target=write, args=(client, version, 1))
    with closing(sqlite3.connect(machine.database, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        writer.start()

        def refusal() -> dict[str, str] | None:
            answer = requests.get(url, timeout=PATIENCE_S)
            return answer.json() if answer.status_code == 503 else None

        told = wait_until(refusal, "a node that is not ready")
        assert "the database's write lock is held by" in told["detail"]
        assert told["leader"] == "n1", "it leads, and yet is not ready"
    writer.join(PATIENCE_S)
    wait_until(lambda: refusal() is None, "readiness")


def test_an_unknown_alias_is_told(machine):
    assert "no replicated database; replicated are: default" in machine.refusal(
        "--database", "other"
    )


def test_a_full_disk_under_the_log_stops_the_node_with_a_message(machine):
    """The file-size limit stands for a full disk: a write fails, and that is final."""
    machine.start()
    client = machine.client()
    version = make_table(client)
    assert machine.process is not None
    limit = subprocess.run(["prlimit", f"--pid={machine.process.pid}", "--fsize=1024"], check=False)
    assert limit.returncode == 0
    with pytest.raises(Exception, match=r"may or may not|raftnode"):
        client.propose(*command(insert(version, 1, "x"), client=client), timeout_s=2.0)
    assert machine.process.wait(PATIENCE_S) == 1
    assert "The log of group default could not be written" in machine.log()
    machine.start()
    write(machine.client(), version, 2)
