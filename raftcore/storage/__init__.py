"""The durable log, and its twin in memory."""

from raftcore.storage.errors import (
    LogDamaged,
    LogFailed,
    LogLocked,
    LogNotCompacted,
    LogVersionUnknown,
    StorageError,
)
from raftcore.storage.memory import MemoryLog
from raftcore.storage.protocol import LogReader, LogStore
from raftcore.storage.wal import SEGMENT_BYTES, WriteAheadLog

__all__ = [
    "SEGMENT_BYTES",
    "LogDamaged",
    "LogFailed",
    "LogLocked",
    "LogNotCompacted",
    "LogReader",
    "LogStore",
    "LogVersionUnknown",
    "MemoryLog",
    "StorageError",
    "WriteAheadLog",
]
