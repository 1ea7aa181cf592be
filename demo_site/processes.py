"""Which processes belong to a demo, remembered in `.demo/processes.json`.

A process is named by its number and the moment it started, so that a number which the system has
meanwhile given to somebody else's process is never signalled.
"""

from __future__ import annotations

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


def wait_for_end(processes: Iterable[Recorded], timeout_s: float) -> list[Recorded]:
    """Wait until all have ended; those that still run at the deadline."""
    deadline = time.monotonic() + timeout_s
    left = list(processes)
    while left := [process for process in left if process.alive()]:
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    return left
