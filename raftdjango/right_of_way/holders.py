"""Who holds the local database's write lock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """A living process that says it holds the write lock."""

    pid: int
    """As the process itself sees it."""
    since_ms: int
    """For how long it has held the lock; 0: not known."""
    label: str
    """Program and host, for people."""

    def __str__(self) -> str:
        since = f", for {self.since_ms} ms" if self.since_ms else ""
        return f"process {self.pid} ({self.label}){since}"


WAL_WRITE_LOCK = 120
"""Byte of the `-shm` file whose lock is SQLite's write lock in WAL mode."""


def foreign_holder(database: Path) -> Holder | None:
    """Whoever holds the write lock according to the kernel, also outside of this protocol.

    Finds an operator's `sqlite3` shell, which has no slot.  Linux only; elsewhere None.
    """
    try:
        inode = str(Path(f"{database}-shm").stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, kind, _, mode, pid, place, first, *_ = [*line.split(), "", "", "", "", "", "", ""]
        if (kind, mode, first) == ("POSIX", "WRITE", str(WAL_WRITE_LOCK)) and place.split(":")[
            -1:
        ] == [inode]:
            try:
                label = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                label = "unknown program"
            return Holder(int(pid), 0, label)
    return None
