"""The durable log and the snapshots, and their twins in memory.

protocol           what core and driver need of a log, and which thread may do what
wal                the log on disk: written, read, compacted, reset
  log_index        which entry is in which frame
  segment_folder   the files: names, the one made ahead, the lock
  segment, record  the bytes: of a file and its frames, of what is in a frame
  log_base         the small file that says where a compacted log begins
  recovery         a start: what there is, and whether it is damaged
snapshots          what a store of snapshots is, one in memory, and where a start begins
disk_snapshots     one on disk
memory             the log in memory
entry_runs         rules about runs of entries that both logs share
disk, errors       file operations, for tests to replace; what can go wrong with them
"""

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
