"""The durable log and the snapshots, and their twins in memory."""

from raftcore.storage.disk_snapshots import DiskSnapshots
from raftcore.storage.errors import (
    LogDamaged,
    LogFailed,
    LogLocked,
    LogNotCompacted,
    LogVersionUnknown,
    SnapshotDamaged,
    SnapshotFailed,
    SnapshotMissing,
    StorageError,
)
from raftcore.storage.memory import MemoryLog
from raftcore.storage.protocol import LogReader, LogStore
from raftcore.storage.snapshots import (
    MemorySnapshots,
    SnapshotReader,
    SnapshotStore,
    SnapshotWriter,
    starting_point,
)
from raftcore.storage.wal import SEGMENT_BYTES, WriteAheadLog

__all__ = [
    "SEGMENT_BYTES",
    "DiskSnapshots",
    "LogDamaged",
    "LogFailed",
    "LogLocked",
    "LogNotCompacted",
    "LogReader",
    "LogStore",
    "LogVersionUnknown",
    "MemoryLog",
    "MemorySnapshots",
    "SnapshotDamaged",
    "SnapshotFailed",
    "SnapshotMissing",
    "SnapshotReader",
    "SnapshotStore",
    "SnapshotWriter",
    "StorageError",
    "WriteAheadLog",
    "starting_point",
]
