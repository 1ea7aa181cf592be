"""Rules about runs of entries that both logs share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raftcore.storage.protocol import LogReader
from raftcore.types import Entry, SnapshotMeta


def check_contiguous(entries: Sequence[Entry], first_index: int, last_index: int) -> int:
    """Index of the first entry, once it is known that the run fits the log; else `ValueError`."""
    first = entries[0].index
    if not first_index <= first <= last_index + 1:
        raise ValueError(f"entry {first} does not continue a log of {first_index} to {last_index}")
    for index, entry in enumerate(entries, first):
        if entry.index != index:
            raise ValueError(f"entry {entry.index} stands where {index} belongs")
    return first


def check_compaction(log: LogReader, meta: SnapshotMeta, through: int) -> None:
    """Raise `ValueError` unless this is a snapshot of this log that covers all that is to go."""
    if not through <= meta.index <= log.last_index:
        raise ValueError(
            f"a snapshot up to {meta.index} does not let entries up to {through} go "
            f"from a log that ends at {log.last_index}"
        )
    if log.snapshot is not None and meta.index < log.snapshot.index:
        raise ValueError(f"the snapshot up to {log.snapshot.index} is newer than {meta.index}")
    if meta.index >= log.first_index and log.term(meta.index) != meta.term:
        raise ValueError(f"the snapshot up to {meta.index} is of another log")


def within_bytes(entries: Iterable[Entry], bytes_max: int) -> tuple[Entry, ...]:
    """The first entry, then more as long as all their data is at most `bytes_max`."""
    taken: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.data)
        if taken and size > bytes_max:
            break
        taken.append(entry)
    return tuple(taken)
