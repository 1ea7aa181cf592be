"""The systems under test: how each is started, and how a writer reaches it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings as django_settings
from django.db import OperationalError

from benchmarks.processes import free_ports, wait_until
from raftdjango.client.socket import SocketClient
from raftdjango.conf import Settings

django_settings.configure(DATABASES={"default": {}})  # the name of the replicated alias

ROOT = Path(__file__).resolve().parent.parent


def manage(environment: dict[str, str], *arguments: str) -> str:
    """Run a management command of the benchmark's project; its output."""
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        env=environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


class System(ABC):
    """Something that keeps a Django project's rows."""

    name: ClassVar[str]
    placements: ClassVar[tuple[str, ...]] = ("",)
    """Where writers can be put; more than one for a cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self.processes: dict[str, subprocess.Popen[str]] = {}

    @abstractmethod
    def start(self) -> None:
        """Start, and make the tables."""

    @abstractmethod
    def database(self, node: int) -> dict[str, Any]:
        """The `DATABASES` entry with which a writer reaches node `node`."""

    def node_of(self, placement: str, writer: int) -> int:
        """Which node a writer uses."""
        return 0

    def environment(self, node: int) -> dict[str, str]:
        """Environment of a writer on node `node`."""
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "BENCH_DATABASE": json.dumps(self.database(node)),
        }

    def counters(self) -> dict[str, int]:
        """Counters of interest, to be subtracted around a run."""
        return {}

    def stop(self) -> None:
        """End the processes that were started."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class StockSQLite(System):
    """Django's own backend on one local file, every commit synced."""

    name = "sqlite"

    def start(self) -> None:
        manage(self.environment(0), "migrate", "--run-syncdb", "--verbosity=0")

    def database(self, node: int) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self.folder / "db.sqlite3"),
            "OPTIONS": {
                "timeout": 60,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
            },
        }


class PostgreSQL(System):
    """A primary and two standbys, of which any one must have flushed each commit."""

    name = "postgresql"

    @staticmethod
    def programs() -> Path | None:
        """Folder of PostgreSQL's programs, newest version; None where it is not installed."""
        found = sorted(
            Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4])
        )
        if found:
            return found[-1].parent
        here = shutil.which("initdb")
        return Path(here).parent if here else None

    def start(self) -> None:
        bin_folder = self.programs()
        assert bin_folder is not None
        self.bin = bin_folder
        self.ports = free_ports(3)
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "--auth=trust", "--username=bench", "--no-sync", "-D", self._data(0))
        common = f"unix_socket_directories = '{self.folder}'\nmax_connections = 100\nlogging_collector = off\n"
        with (self.folder / "d0" / "postgresql.conf").open("a") as file:
            file.write(common + "wal_level = replica\nmax_wal_senders = 6\n")
        self._server(0)
        for n in (1, 2):
            self._run(
                *("pg_basebackup", "-h", str(self.folder), "-p", str(self.ports[0]), "-U", "bench"),
                *("-D", self._data(n), "-R", "-X", "stream", "--no-sync", "--checkpoint=fast"),
            )
            with (self.folder / f"d{n}" / "postgresql.auto.conf").open("a") as file:
                file.write(
                    f"primary_conninfo = 'host={self.folder} port={self.ports[0]} user=bench application_name=s{n}'\n"
                )
            self._server(n)
        self._sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, s2)'")
        self._sql("SELECT pg_reload_conf()")
        quorum = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'"
        wait_until(lambda: self._sql(quorum) == "2", "two quorum standbys")
        manage(self.environment(0), "migrate", "--run-syncdb", "--verbosity=0")

    def _data(self, n: int) -> str:
        return str(self.folder / f"d{n}")

    def _as_user(self, *command: str) -> list[str]:
        return ["runuser", "-u", self.user, "--", *command] if os.getuid() == 0 else list(command)

    def _run(self, program: str, *arguments: str) -> str:
        command = self._as_user(str(self.bin / program), *arguments)
        done = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def _sql(self, statement: str) -> str:
        where = ("-h", str(self.folder), "-p", str(self.ports[0]), "-U", "bench")
        return self._run("psql", *where, "-d", "postgres", "-qAtc", statement)

    def _server(self, n: int) -> None:
        log = (self.folder / f"log{n}").open("w")
        self.processes[f"server {n + 1}"] = subprocess.Popen(
            self._as_user(
                *(str(self.bin / "postgres"), "-D", self._data(n), "-p", str(self.ports[n])),
                *("-c", "listen_addresses=127.0.0.1"),
            ),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            text=True,
        )
        ready = self._as_user(
            str(self.bin / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.ports[n])
        )
        wait_until(lambda: subprocess.call(ready, cwd="/") == 0, f"PostgreSQL server {n + 1}")

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)  # fast shutdown
        super().stop()

    def database(self, node: int) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "bench",
            "HOST": str(self.folder),
            "PORT": self.ports[0],
            "CONN_MAX_AGE": None,
        }


class RaftDjango(System):
    """Three raftnodes on the loopback."""

    name = "raftdjango"
    placements = ("leader", "follower", "spread")

    def start(self) -> None:
        self.ports = free_ports(3)
        self.clients = [self.client(node) for node in range(3)]
        for node in range(3):
            (self.folder / f"n{node + 1}").mkdir()
            log = (self.folder / f"n{node + 1}" / "log").open("w")
            self.processes[f"raftnode {node + 1}"] = subprocess.Popen(
                [sys.executable, "-m", "django", "raftnode"],
                env=self.environment(node),
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        wait_until(lambda: self.status(0) and self.status(0)["leader"], "a leader")
        manage(self.environment(0), "migrate", "--run-syncdb", "--verbosity=0")

    def database(self, node: int) -> dict[str, Any]:
        return {
            "ENGINE": "raftdjango.backends.sqlite3",
            "NAME": str(self.folder / f"n{node + 1}" / "db.sqlite3"),
            "OPTIONS": {"timeout": 60},
        }

    def client(self, node: int) -> SocketClient:
        """A client of one node."""
        folder = self.folder / f"n{node + 1}"
        settings = Settings(node_id=f"n{node + 1}", data_dir=folder / "raft", commit_timeout_s=2.0)
        return SocketClient("default", settings=settings, database=folder / "db.sqlite3")

    def environment(self, node: int) -> dict[str, str]:
        nodes = {f"n{n + 1}": f"http://127.0.0.1:{port}" for n, port in enumerate(self.ports)}
        setting = {
            "NODE_ID": f"n{node + 1}",
            "NODES": nodes,
            "SECRET": "what the nodes of the benchmarks sign with",
            "DATA_DIR": str(self.folder / f"n{node + 1}" / "raft"),
            "COMMIT_TIMEOUT_S": 60,
        }
        return super().environment(node) | {"BENCH_RAFTDJANGO": json.dumps(setting)}

    def status(self, node: int) -> dict[str, Any]:
        """What `raftctl status --json` prints, or nothing while the node does not answer."""
        try:
            return self.clients[node].status(timeout_s=2.0)
        except OperationalError:
            return {}

    def node_of(self, placement: str, writer: int) -> int:
        leader = int(self.status(0)["leader"][1:]) - 1
        if placement == "spread":
            return writer % 3
        return leader if placement == "leader" else (leader + 1) % 3

    def counters(self) -> dict[str, int]:
        node = self.node_of("leader", 0)
        status = self.status(node)
        return {"commit_index": status["commit_index"], "log_syncs": status.get("log_syncs", 0)}


SYSTEMS: tuple[type[System], ...] = (StockSQLite, PostgreSQL, RaftDjango)
