"""`manage.py demo`: what it refuses before anything starts, and how it treats its processes."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from demo_site.layout import Layout, current_layout, save_layout
from demo_site.processes import Record, Recorded, started_at, wait_for_end
from demo_site.supervisor import Supervisor

SLEEP = "import time; print('asleep', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
CALM = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *a: (print('bye'), sys.exit())); "
    + SLEEP
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEMO_FOLDER", str(tmp_path))
    for variable in ("DEMO_NODES", "DEMO_BASE_PORT"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def demo(**options: Any) -> str:
    out = io.StringIO()
    call_command("demo", stdout=out, no_color=True, **options)
    return out.getvalue()


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.02)


class TestRefusals:
    def refused(self, **options: Any) -> CommandError:
        with pytest.raises(CommandError) as caught:
            demo(**options)
        return caught.value

    def test_port_in_use(self, folder: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            error = self.refused(nodes=1, base_port=port - 1)
        assert str(port) in str(error)
        assert "--base-port" in str(error)
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize(
        "options", [{"nodes": 0}, {"nodes": 10}, {"base_port": 80}, {"base_port": 65000}]
    )
    def test_nonsense(self, folder: Path, options: dict[str, int]) -> None:
        assert self.refused(**options).returncode == 2

    @pytest.mark.parametrize("options", [{"nodes": 5}, {"base_port": 17000}])
    def test_data_of_another_shape(self, folder: Path, options: dict[str, int]) -> None:
        save_layout(folder, Layout(nodes=3, base_port=7000))
        error = self.refused(**options)
        assert "3 nodes from port 7001" in str(error)
        assert "make demo-clean" in str(error)

    def test_demo_that_runs_already(self, folder: Path, sleeper: subprocess.Popen[bytes]) -> None:
        Record(folder).save([Recorded.of("n1 node", sleeper.pid)])
        error = self.refused()
        assert str(sleeper.pid) in str(error)
        assert "--stop" in str(error)


class TestLayout:
    def test_ports(self) -> None:
        layout = Layout(nodes=2, base_port=7000)
        assert layout.node_ids == ["n1", "n2"]
        assert layout.raft_url("n2") == "http://127.0.0.1:7002"
        assert layout.site_url("n2") == "http://127.0.0.1:8002/"

    def test_environment_wins_over_existing_data(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert current_layout() == Layout(3, 7000)
        save_layout(folder, Layout(5, 9000))
        assert current_layout() == Layout(5, 9000)
        monkeypatch.setenv("DEMO_NODES", "1")
        assert current_layout() == Layout(1, 9000)


class TestStop:
    def test_nothing_runs(self, folder: Path) -> None:
        assert "No demo is running." in demo(stop=True)

    def test_left_behind_processes_are_ended(
        self, folder: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        Record(folder).save([Recorded.of("n1 node", sleeper.pid)])
        assert "Stopped." in demo(stop=True)
        assert sleeper.wait(10) == -signal.SIGTERM
        assert not (folder / "processes.json").exists()

    def test_a_stranger_with_the_same_number_is_left_alone(
        self, folder: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        stranger = ["n1 node", sleeper.pid, "another start"]
        (folder / "processes.json").write_text(json.dumps([stranger]))
        assert "No demo is running." in demo(stop=True)
        Recorded("n1 node", sleeper.pid, "another start").signal(signal.SIGKILL)
        assert sleeper.poll() is None

    def test_start_time_tells_processes_apart(self, sleeper: subprocess.Popen[bytes]) -> None:
        assert started_at(sleeper.pid) == started_at(sleeper.pid) != ""
        sleeper.kill()
        sleeper.wait()
        assert started_at(sleeper.pid) == ""

    def test_zombie_counts_as_ended(self) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        recorded = Recorded.of("zombie", child)
        assert wait_for_end([recorded], 30) == []
        os.waitpid(child, 0)


class TestSupervisor:
    @pytest.fixture
    def supervisor(self, folder: Path) -> Iterator[Supervisor]:
        self.said: list[tuple[str, str]] = []
        supervisor = Supervisor(folder, Layout(1), lambda *line: self.said.append(line))
        yield supervisor
        for child in supervisor.children:
            child.send(signal.SIGKILL)
            child.wait(10)

    def start(self, supervisor: Supervisor, kind: str, code: str) -> Any:
        child = supervisor.start("n1", kind, "shell", "--no-imports", "-c", code)
        wait_until(lambda: (f"n1 {kind}", "asleep") in self.said)
        return child

    def test_sites_stop_before_nodes(self, supervisor: Supervisor) -> None:
        node = self.start(supervisor, "node", CALM)
        site = self.start(supervisor, "site", CALM)
        assert {p.name for p in supervisor.record.load()} == {"demo", "n1 node", "n1 site"}
        assert supervisor.stop() == []
        assert [name for name, line in self.said if line == "bye"] == ["n1 site", "n1 node"]
        assert (node.exit_code, site.exit_code) == (0, 0)
        assert supervisor.record.load() == []

    def test_second_signal_kills(self, supervisor: Supervisor) -> None:
        child = self.start(supervisor, "node", STUBBORN)
        supervisor._signalled(signal.SIGINT, None)
        assert not supervisor.hurried
        supervisor._signalled(signal.SIGINT, None)
        assert supervisor.stop() == ["n1 node"]
        assert child.exit_code == -signal.SIGKILL

    def test_a_death_is_reported_once(self, supervisor: Supervisor) -> None:
        child = self.start(supervisor, "node", SLEEP)
        assert supervisor.ended() == []
        child.send(signal.SIGKILL)
        child.wait(10)
        assert supervisor.ended() == [child]
        assert supervisor.ended() == []
        assert list(child.last_lines)[-1] == "asleep"

    def test_one_set_of_settings_serves_every_node(self, supervisor: Supervisor) -> None:
        code = (
            "from django.conf import settings as s; from raftdjango.conf import get_settings; "
            "print(get_settings().node_id, s.DATABASES['default']['NAME'], "
            "get_settings().data_dir); print('asleep')"
        )
        self.start(supervisor, "node", code)
        folder = supervisor.folder
        assert ("n1 node", f"n1 {folder}/n1/db.sqlite3 {folder}/n1/raft") in self.said
