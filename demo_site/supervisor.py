"""Starts the processes of a demo, streams what they say, and stops them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from demo_site.layout import (
    BASE_DIR,
    BASE_PORT_VARIABLE,
    FOLDER_VARIABLE,
    NODES_VARIABLE,
    Layout,
)
from demo_site.processes import Record, Recorded, end, started_by_hand
from raftdjango.conf import NODE_ID_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

LAST_LINES = 12
SITE_STOP_TIMEOUT_S = 5.0
NODE_STOP_TIMEOUT_S = 20.0
POLL_S = 0.1


def child_environment(folder: Path, layout: Layout, node_id: str) -> dict[str, str]:
    """What makes one set of settings serve one node."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "demo_site.settings",
        "PYTHONUNBUFFERED": "1",
        NODE_ID_VARIABLE: node_id,
        FOLDER_VARIABLE: str(folder),
        NODES_VARIABLE: str(layout.nodes),
        BASE_PORT_VARIABLE: str(layout.base_port),
    }


class Child:
    """One `manage.py` process whose output is passed on line by line."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        say: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.reported = False
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._say = say
        # A session of its own: Ctrl-C reaches only the supervisor, which stops children in order.
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, str(BASE_DIR / "manage.py"), *arguments],
            env=environment,
            cwd=BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.recorded = Recorded.of(name, self.process.pid)
        self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.last_lines.append(line.rstrip())
                self._say(self.name, line.rstrip())

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended in time."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(1)
        return True

    def send(self, number: signal.Signals) -> None:
        """Signal it if it runs."""
        if self.exit_code is None:
            self.process.send_signal(number)


class Supervisor:
    """All children of one demo."""

    def __init__(self, folder: Path, layout: Layout, say: Callable[[str, str], None]) -> None:
        self.folder = folder
        self.layout = layout
        self.say = say
        self.children: list[Child] = []
        self.record = Record(folder)
        self.stopping = threading.Event()
        self._signals = 0

    def handle_signals(self) -> None:
        """Ctrl-C or SIGTERM stops cleanly; the second one at once."""
        signal.signal(signal.SIGINT, self._signalled)
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGHUP, self._signalled)

    def _signalled(self, number: int, frame: object) -> None:
        self._signals += 1
        self.stopping.set()

    @property
    def hurried(self) -> bool:
        """Whether the user asked twice."""
        return self._signals > 1

    def start(self, node_id: str, kind: str, *arguments: str) -> Child:
        """Start one child and write down that it is ours."""
        environment = child_environment(self.folder, self.layout, node_id)
        child = Child(f"{node_id} {kind}", list(arguments), environment, self.say)
        self.children.append(child)
        self.record.save([Recorded.of("demo", os.getpid()), *(c.recorded for c in self.children)])
        return child

    def ended(self) -> list[Child]:
        """Children that have ended and were not reported yet."""
        found = [c for c in self.children if not c.reported and c.exit_code is not None]
        for child in found:
            child.reported = True
        return found

    def stop(self) -> list[str]:
        """Stop all: sites first, then the nodes they write through.  Names of those killed.

        Also those that the user has started again by hand, as he was told to.
        """
        nodes = [child for child in self.children if child.name.endswith(" node")]
        others = [child for child in self.children if child not in nodes]
        killed = self._stop(others, SITE_STOP_TIMEOUT_S)
        for process in started_by_hand(self.folder, [child.recorded for child in nodes]):
            timeout_s = 0.0 if self.hurried else NODE_STOP_TIMEOUT_S
            killed += [p.name for p in end([process], timeout_s)]
        killed += self._stop(nodes, NODE_STOP_TIMEOUT_S)
        self.record.forget()
        return killed

    def _stop(self, children: Iterable[Child], timeout_s: float) -> list[str]:
        running = [child for child in children if child.exit_code is None]
        for child in running:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while any(child.exit_code is None for child in running):
            if self.hurried or time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
        killed = [child for child in running if child.exit_code is None]
        for child in killed:
            child.send(signal.SIGKILL)
        for child in running:
            child.wait(5)
        return [child.name for child in killed]
