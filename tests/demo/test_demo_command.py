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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from demo_site.layout import BASE_DIR, Layout, current_layout, manage_command, save_layout
from demo_site.processes import Record, Recorded, started_at, started_by_hand, wait_for_end
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


HOLD = """
import fcntl, os, pathlib, sys, time
from demo_site.processes import register_site
folder = pathlib.Path(os.environ["DEMO_FOLDER"]) / os.environ["RAFTDJANGO_NODE_ID"]
if sys.argv[1] == "node":
    lock = (folder / "raft").mkdir(parents=True) or (folder / "raft/lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    print(os.getpid(), file=lock, flush=True)
else:
    register_site(folder)
print("up", flush=True)
time.sleep(600)
"""
ByHand = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def by_hand(folder: Path) -> Iterator[ByHand]:
    """Starts what stands for a raftnode or a site that a user has started."""
    with ExitStack() as stack:

        def start(node_id: str, kind: str, where: Path = folder) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", HOLD, kind, "raftnode"],
                cwd=BASE_DIR,
                env={**os.environ, "DEMO_FOLDER": str(where), "RAFTDJANGO_NODE_ID": node_id},
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            return process

        yield start


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
        assert f"port {port} is in use" in str(error)
        assert "make demo PORT=" in str(error)
        assert "demo-clean" not in str(error), "there is nothing to forget"
        assert list(folder.iterdir()) == []

    def test_ports_of_existing_data_in_use(self, folder: Path) -> None:
        """Other ports alone would be refused in turn: its log has the addresses."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            save_layout(folder, Layout(nodes=1, base_port=taken.getsockname()[1] - 1))
            text = str(self.refused())
        assert text.index("make demo-clean") < text.index("make demo PORT=")

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
        assert "PORT" in str(error)
        assert "make demo-clean" in str(error)

    def test_demo_that_runs_already(self, folder: Path, sleeper: subprocess.Popen[bytes]) -> None:
        Record(folder).save([Recorded.of("n1 node", sleeper.pid)])
        error = self.refused()
        assert str(sleeper.pid) in str(error)
        assert "demo --stop" in str(error)

    def test_raftnode_that_was_started_by_hand(self, folder: Path, by_hand: ByHand) -> None:
        process = by_hand("n2", "node")
        error = self.refused()
        assert f"n2 node ({process.pid})" in str(error)
        assert "make demo-stop" in str(error)


class TestMake:
    """What the demo's messages tell to type."""

    def runs(self, *arguments: str, **environment: str) -> str:
        """The last command that make would run for `demo`."""
        done = subprocess.run(
            ["make", "--dry-run", "demo", *arguments],
            cwd=BASE_DIR,
            # Not as the child of a `make test`.
            env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return " ".join(done.stdout.splitlines()[-1].split())

    def test_ports_and_options(self) -> None:
        assert self.runs("PORT=9000").endswith("manage.py demo --base-port 9000")
        assert self.runs("ARGS=--base-port 9000").endswith("manage.py demo --base-port 9000")
        assert self.runs("PORT=9000", "ARGS=--nodes 5").endswith("--base-port 9000 --nodes 5")

    def test_a_port_in_the_environment_is_somebody_elses(self) -> None:
        assert self.runs(PORT="9000").endswith("manage.py demo")


class TestLayout:
    def test_ports(self) -> None:
        layout = Layout(nodes=2, base_port=7000)
        assert layout.node_ids == ["n1", "n2"]
        assert layout.raft_url("n2") == "http://127.0.0.1:7002"
        assert layout.site_url("n2") == "http://127.0.0.1:8002/"

    def test_commands_can_be_pasted(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        words = manage_command("raftnode", node_id="n2").split()
        assert words[:2] == ["RAFTDJANGO_NODE_ID=n2", f"DEMO_FOLDER={folder}"]
        assert words[-2:] == ["manage.py", "raftnode"]
        assert (BASE_DIR / words[2]).exists()
        monkeypatch.delenv("DEMO_FOLDER")
        assert "DEMO_FOLDER" not in manage_command("raftnode")

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

    def test_what_was_started_by_hand_is_ended(self, folder: Path, by_hand: ByHand) -> None:
        processes = [by_hand("n1", "site"), by_hand("n2", "node")]
        assert [p.name for p in started_by_hand(folder)] == ["n1 site", "n2 node"]
        assert "Stopped." in demo(stop=True)
        assert [process.wait(30) for process in processes] == [-signal.SIGTERM] * 2
        assert started_by_hand(folder) == []

    def test_raftnodes_of_other_folders_are_left_alone(
        self, folder: Path, by_hand: ByHand, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Even if a lock file here, which nobody holds, names one."""
        other = by_hand("n1", "node", tmp_path_factory.mktemp("other"))
        (folder / "n1/raft").mkdir(parents=True)
        (folder / "n1/raft/lock").write_text(f"{other.pid}\n")
        assert "No demo is running." in demo(stop=True)
        assert other.poll() is None

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

    def test_what_was_started_by_hand_stops_too(
        self, supervisor: Supervisor, by_hand: ByHand
    ) -> None:
        self.start(supervisor, "node", CALM)
        others = [by_hand("n1", "site"), by_hand("n2", "node")]
        assert supervisor.stop() == []
        assert [process.wait(30) for process in others] == [-signal.SIGTERM] * 2

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
