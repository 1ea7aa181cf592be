"""Entries and logs for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raftcore.storage import LogStore, WriteAheadLog
from raftcore.storage.disk import Disk
from raftcore.types import Entry, EntryKind, HardState, Membership, SnapshotMeta
from tests.storage.disks import QuickDisk

SMALL_SEGMENT = 4096
EVERYTHING = 1 << 40


def entry(index: int, term: int = 1, data: bytes | None = None) -> Entry:
    """An entry whose content tells index and term."""
    kind = EntryKind.NOOP if index % 7 == 0 else EntryKind.COMMAND
    content = f"entry {index} of term {term}".encode() if data is None else data
    return Entry(index, term, kind, 1000 * term + index, content)


def run(first: int, last: int, term: int = 1) -> list[Entry]:
    return [entry(index, term) for index in range(first, last + 1)]


def content(log: LogStore) -> list[Entry]:
    """All entries, read in small helpings."""
    found: list[Entry] = []
    while (following := log.first_index + len(found)) <= log.last_index:
        found += log.entries(following, log.last_index, 100)
    return found


def write(log: LogStore, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
    log.append(hard_state, entries)
    log.sync()


def open_log(
    folder: Path, disk: Disk | None = None, segment_bytes: int = SMALL_SEGMENT
) -> WriteAheadLog:
    """Open a log with small segments that makes none ahead, so that each test is exact."""
    return WriteAheadLog.open(
        folder, segment_bytes=segment_bytes, disk=disk or QuickDisk(), prepare_ahead=False
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a log and its content."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.*"))}


def snapshot(index: int, term: int = 1, voters: str = "abc") -> SnapshotMeta:
    """What a snapshot up to `index` stands for."""
    return SnapshotMeta(index, term, 1000 * term + index, Membership(frozenset(voters)), 0, 10)
