"""Which processes belong to a demo, remembered in `.demo/processes.json`.

A process is named by its number and the moment it started, so that a number which the system has
meanwhile given to somebody else's process is never signalled.  Those that a user has started again by
hand are found by what they hold in the demo's own folders.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

POLL_S = 0.1
KILL_TIMEOUT_S = 5.0
SITE_FILE = "site.json"
"""In a node's folder: the process that serves its site."""


def started_at(pid: int) -> str:
    """When a process began, in words that only serve to compare; empty if there is none."""
    try:
        # The command's name may hold spaces and brackets: count fields after the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        asked = ["ps", "-o", "lstart=,state=", "-p", str(pid)]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()  # noqa: S603
        return "" if not answer or answer[-1].startswith("Z") else " ".join(answer[:-1])
    state, ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot} {ticks}"


def command_of(pid: int) -> list[str]:
    """The words of a process' command; none where there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        if Path("/proc/self/stat").exists():
            return []
        asked = ["ps", "-o", "command=", "-p", str(pid)]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()  # noqa: S603


@dataclass(frozen=True)
class Recorded:
    """One process of a demo."""

    name: str
    pid: int
    started: str

    @classmethod
    def of(cls, name: str, pid: int) -> Recorded:
        """A process that runs now."""
        return cls(name, pid, started_at(pid))

    def alive(self) -> bool:
        """Whether that very process still runs."""
        return bool(self.started) and started_at(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Signal it, if it is still that process."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


class Record:
    """The file: the supervisor first, then its children."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "processes.json"

    def save(self, processes: Iterable[Recorded]) -> None:
        """Write all anew."""
        text = json.dumps([[p.name, p.pid, p.started] for p in processes])
        partial = self._path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(self._path)

    def load(self) -> list[Recorded]:
        """Those of the last demo in this folder that still run."""
        try:
            saved = json.loads(self._path.read_text())
        except FileNotFoundError:
            return []
        return [process for process in (Recorded(*row) for row in saved) if process.alive()]

    def forget(self) -> None:
        """The demo has ended."""
        self._path.unlink(missing_ok=True)


def register_site(node_folder: Path) -> None:
    """Have `started_by_hand` find this process, whoever started it."""
    node_folder.mkdir(parents=True, exist_ok=True)
    process = Recorded.of(f"{node_folder.name} site", os.getpid())
    text = json.dumps([process.name, process.pid, process.started])
    (node_folder / SITE_FILE).write_text(text)


def started_by_hand(folder: Path, others: Iterable[Recorded] = ()) -> list[Recorded]:
    """Sites, then raftnodes, that run on the folders of a demo and are not among `others`."""
    known = {process.pid for process in others}
    sites = [_site(path) for path in sorted(folder.glob(f"n*/{SITE_FILE}"))]
    nodes = [_raftnode(path) for path in sorted(folder.glob("n*/raft/lock"))]
    return [p for p in (*sites, *nodes) if p is not None and p.alive() and p.pid not in known]


def _site(path: Path) -> Recorded | None:
    try:
        return Recorded(*json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # it ended, or was killed while it wrote
        return None


def _raftnode(lock: Path) -> Recorded | None:
    """The process that holds a data directory's lock."""
    try:
        with lock.open() as file:
            holder = file.read().strip()
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # held: the number in it is no other process' that has it by chance
            else:
                return None
    except OSError:
        return None
    if not holder.isdigit() or "raftnode" not in command_of(int(holder)):
        return None
    return Recorded.of(f"{lock.parent.parent.name} node", int(holder))


def end(processes: Iterable[Recorded], timeout_s: float) -> list[Recorded]:
    """Have them end; those that had to be killed."""
    ending = list(processes)
    for process in ending:
        process.signal(signal.SIGTERM)
    for process in (left := wait_for_end(ending, timeout_s)):
        process.signal(signal.SIGKILL)
    wait_for_end(left, KILL_TIMEOUT_S)
    return left


def wait_for_end(processes: Iterable[Recorded], timeout_s: float) -> list[Recorded]:
    """Wait until all have ended; those that still run at the deadline."""
    deadline = time.monotonic() + timeout_s
    left = list(processes)
    while left := [process for process in left if process.alive()]:
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    return left
