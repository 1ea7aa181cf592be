"""`manage.py demo`: a whole cluster on this machine, to try things on.

Each node is two processes, a `raftnode` and a site, with its files in `.demo/<node>/`.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from demo_site.layout import (
    BASE_DIR,
    Layout,
    demo_folder,
    manage_command,
    save_layout,
    saved_layout,
)
from demo_site.processes import Record, end, started_by_hand, wait_for_end
from demo_site.supervisor import Child, Supervisor, child_environment

if TYPE_CHECKING:
    from pathlib import Path

NODES_MAX = 9
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 40.0
POLL_S = 0.2
OTHER_BASE_PORTS = (17000, 27000, 37000, 47000)
COLOURS = (36, 35, 33, 32, 34, 31)


class Command(BaseCommand):
    """Thin: the processes are `demo_site.supervisor`'s."""

    help = "Starts a cluster with its sites on this machine; Ctrl-C stops it."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """The options."""
        parser.add_argument("--nodes", type=int, help="how many (default: 3, or as many as before)")
        parser.add_argument(
            "--base-port",
            type=int,
            metavar="P",
            help="raftnodes at P+1 and on, sites at P+1001 and on (default: 7000, or as before)",
        )
        parser.add_argument(
            "--detach",
            action="store_true",
            help="leave it running and return when the sites answer",
        )
        parser.add_argument("--stop", action="store_true", help="stop a demo left running")

    def handle(
        self, *, nodes: int | None, base_port: int | None, detach: bool, stop: bool, **options: Any
    ) -> None:
        """Start or stop."""
        folder = demo_folder()
        if stop:
            return self._stop(folder)
        layout = self._layout(folder, nodes, base_port)
        self._refuse_if_running(folder)
        if taken := _taken_ports(layout):
            raise CommandError(_about_ports(taken, folder))
        save_layout(folder, layout)
        for node_id in layout.node_ids:
            (folder / node_id).mkdir(parents=True, exist_ok=True)
        return self._detach(folder, layout) if detach else self._run(folder, layout)

    # Before anything starts

    def _layout(self, folder: Path, nodes: int | None, base_port: int | None) -> Layout:
        saved = saved_layout(folder)
        asked = saved or Layout()
        layout = Layout(
            nodes=asked.nodes if nodes is None else nodes,
            base_port=asked.base_port if base_port is None else base_port,
        )
        if not 1 <= layout.nodes <= NODES_MAX:
            raise CommandError(f"--nodes must be from 1 to {NODES_MAX}.", returncode=2)
        if not 1024 <= layout.base_port <= 65535 - 1000 - NODES_MAX:
            raise CommandError("--base-port must be from 1024 to 64526.", returncode=2)
        if saved and saved != layout:
            # The log holds the nodes and their addresses since the cluster was formed.
            raise CommandError(
                f"The data in {folder} belongs to {saved.nodes} nodes from port "
                f"{saved.base_port + 1}: their addresses are in its log. Start without PORT, "
                "--base-port and --nodes to go on with it, or forget it first: make demo-clean",
                returncode=2,
            )
        return layout

    def _refuse_if_running(self, folder: Path) -> None:
        running = Record(folder).load()
        if running := [*running, *started_by_hand(folder, running)]:
            names = ", ".join(f"{process.name} ({process.pid})" for process in running)
            raise CommandError(
                f"A demo in {folder} is running: {names}. Stop it first: make demo-stop, which is "
                f"{manage_command('demo --stop')}"
            )

    # In the foreground

    def _run(self, folder: Path, layout: Layout) -> None:
        supervisor = Supervisor(folder, layout, self._printer(layout))
        supervisor.handle_signals()
        try:
            self._start(supervisor)
            self._watch(supervisor)
        finally:
            self.stdout.write("\nStopping. Ctrl-C again stops at once.")
            killed = supervisor.stop()
            if killed:
                self.stdout.write(self.style.WARNING(f"Killed: {', '.join(killed)}."))
            self.stdout.write("Stopped. The data is kept; start again to go on with it.")

    def _start(self, supervisor: Supervisor) -> None:
        layout = supervisor.layout
        started = time.monotonic()
        for node_id in layout.node_ids:
            supervisor.start(node_id, "node", "raftnode")
        for node_id in layout.node_ids:
            ready = f"{layout.raft_url(node_id)}/raft/v1/health/ready"
            self._wait(supervisor, lambda url=ready: _answers(url))
        prepare = supervisor.start("n1", "setup", "prepare_demo")
        self._wait(supervisor, lambda: prepare.exit_code == 0)
        prepare.reported = True
        for node_id in layout.node_ids:
            supervisor.start(node_id, "site", "serve")
        for node_id in layout.node_ids:
            self._wait(supervisor, lambda n=node_id: _answers(layout.site_url(n)))
        if supervisor.stopping.is_set():
            return
        self._addresses(layout, time.monotonic() - started)
        self.stdout.write("  All cities are imported in the background. Ctrl-C stops everything.\n")
        supervisor.start("n1", "import", "import_cities")

    def _wait(self, supervisor: Supervisor, done: Any) -> None:
        """Wait for a condition; nothing may die meanwhile."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not supervisor.stopping.is_set() and not done():
            if dead := [child for child in supervisor.ended() if child.exit_code]:
                raise CommandError(_obituary(dead[0]))
            if time.monotonic() >= deadline:
                raise CommandError(f"Not ready after {START_TIMEOUT_S:.0f} s; the log says why.")
            supervisor.stopping.wait(POLL_S)

    def _watch(self, supervisor: Supervisor) -> None:
        """Report children that end; the others go on, which is the point of a cluster."""
        while not supervisor.stopping.wait(POLL_S):
            for child in supervisor.ended():
                node_id, kind = child.name.split()
                if kind == "import" and child.exit_code == 0:
                    continue
                self.stdout.write(self.style.ERROR(_obituary(child)))
                verb = {"node": "raftnode", "site": "serve", "import": "import_cities"}[kind]
                self.stdout.write(
                    "The others go on. Start it again, in another terminal (Ctrl-C here will stop "
                    f"it too):\n  cd {shlex.quote(str(BASE_DIR))}\n"
                    f"  {manage_command(verb, node_id=node_id)}"
                )

    def _addresses(self, layout: Layout, seconds: float | None = None) -> None:
        count = f"{layout.nodes} node{'s' if layout.nodes > 1 else ''}"
        in_time = f" after {seconds:.0f} s" if seconds is not None else ""
        lines = ["", self.style.SUCCESS(f"  {count} up{in_time}. Log in as admin, password admin.")]
        for node_id in layout.node_ids:
            site, raft = layout.site_url(node_id), layout.raft_url(node_id)
            lines.append(f"  {node_id}   site {site}   raftnode {raft}")
        lines.append(f"  The cluster's page: {layout.site_url('n1')}admin/raftdjango/cluster/")
        self.stdout.write("\n".join([*lines, ""]))

    def _printer(self, layout: Layout) -> Any:
        """A function that prints one line of a child with its name before it."""
        lock = threading.Lock()
        colours = {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(layout.node_ids)}
        coloured = self.stdout.isatty() and not os.environ.get("NO_COLOR")

        def say(name: str, line: str) -> None:
            label = f"{name:<9} │"
            if coloured:
                label = f"\033[{colours[name.split()[0]]}m{label}\033[0m"
            with lock:
                self.stdout.write(f"{label} {line}")
                self.stdout.flush()

        return say

    # In the background

    def _detach(self, folder: Path, layout: Layout) -> None:
        log_path = folder / "demo.log"
        with log_path.open("w") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, str(BASE_DIR / "manage.py"), "demo"],
                env=child_environment(folder, layout, "n1"),
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        for node_id in layout.node_ids:
            while not _answers(layout.site_url(node_id)):
                if process.poll() is not None or time.monotonic() >= deadline:
                    self._stop(folder)
                    text = "\n".join(log_path.read_text().splitlines()[-30:])
                    raise CommandError(f"The demo did not start. {log_path} ends with:\n{text}")
                time.sleep(POLL_S)
        self._addresses(layout)
        self.stdout.write(f"  Its log: {log_path}\n  Stop it: {manage_command('demo --stop')}")

    def _stop(self, folder: Path) -> None:
        record = Record(folder)
        running = record.load()
        by_hand = started_by_hand(folder, running)
        if not running and not by_hand:
            self.stdout.write("No demo is running.")
            return
        # A supervisor stops the others in order, those that were started by hand among them.
        supervisors = [process for process in running if process.name == "demo"]
        for process in supervisors:
            process.signal(signal.SIGTERM)
        if supervisors:
            wait_for_end([*running, *by_hand], STOP_TIMEOUT_S)
        for process in (p for each in (running, by_hand) for p in end(each, STOP_TIMEOUT_S)):
            self.stdout.write(self.style.WARNING(f"{process.name} does not stop: killed."))
        record.forget()
        self.stdout.write("Stopped. The data is kept; start again to go on with it.")


def _taken_ports(layout: Layout) -> list[int]:
    """Which of its ports somebody else has."""
    taken = []
    for node_id in layout.node_ids:
        for port in (layout.raft_port(node_id), layout.site_port(node_id)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                        raise
                    taken.append(port)
    return taken


def _about_ports(taken: list[int], folder: Path) -> str:
    """What to do where ports are taken: data that is there is bound to its addresses."""
    one = len(taken) == 1
    ports = f"port{'' if one else 's'} {', '.join(map(str, taken))} {'is' if one else 'are'}"
    lines = [f"Nothing was started: {ports} in use by another program. End it, or use other ports:"]
    if saved_layout(folder) is not None:
        lines.append("  make demo-clean             the data there is bound to its ports")
    free = (base for base in OTHER_BASE_PORTS if not _taken_ports(Layout(NODES_MAX, base)))
    base_port = next(free, OTHER_BASE_PORTS[0])
    site = Layout(base_port=base_port).site_url("n1")
    lines.append(f"  make demo PORT={base_port}        the first site is {site} then")
    return "\n".join(lines)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _obituary(child: Child) -> str:
    code = child.exit_code or 0
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    lines = "\n".join(f"    {line}" for line in child.last_lines)
    said = f" It said last:\n{lines}" if lines else ""
    return f"{child.name} ended ({how}).{said}"
