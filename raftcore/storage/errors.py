"""What can go wrong with a log on disk; each says whose move is next."""

from __future__ import annotations

import errno
from pathlib import Path

from raftcore.errors import RaftError


class StorageError(RaftError):
    """Base of the log's own errors."""


class LogDamaged(StorageError):
    """The disk gave back something else than was written.  Nothing was changed.

    Starting with what is left would forget votes and acknowledged entries, so it is refused.
    """

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(
            f"The Raft log is damaged: {path}, offset {offset}: {what}. The file was left as it "
            "is. Check the disk. This node must not go on with what is left of its log: let it "
            "come back as a new member, with a new node id and an empty data directory."
        )
        self.path = path
        self.offset = offset
        self.what = what


class LogLocked(StorageError):
    """Another process has this log open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"The Raft log in {folder} is in use by another process. Stop that one first."
        )
        self.folder = folder


class LogVersionUnknown(StorageError):
    """The log was written by another version of this program."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"The Raft log has format version {found}; this program reads version {known}. "
            "Start it with the version of the program that wrote it."
        )


class LogFailed(StorageError):
    """A write or a sync failed.  Final: what reached the disk is unknown until the next start."""


class LogNotCompacted(StorageError):
    """Nothing could be let go.  Nothing has changed either: the log goes on, and grows."""


class SnapshotFailed(StorageError):
    """A snapshot could not be written or read.  Nothing half is left, and it can be tried again."""


class SnapshotMissing(StorageError):
    """There is no such snapshot, or none that would do."""


class SnapshotDamaged(StorageError):
    """What is in a snapshot is not what was written.  Nothing was changed.

    An older one is not taken instead unless the log goes on from there: entries between the two
    would be missing, and the state machine would go back in time.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(
            f"The snapshot {name} is damaged: {what}. The file was left as it is. Check the disk. "
            "A node that starts goes on from an older snapshot and takes a new one; only where "
            "none reaches the log it must come back as a new member, with a new node id and an "
            "empty data directory."
        )
        self.name = name
        self.what = what


def snapshot_failed(folder: Path, doing: str, error: OSError) -> SnapshotFailed:
    """The `SnapshotFailed` for a failed operation, with what to do about it."""
    return SnapshotFailed(f"{doing} a snapshot in {folder} failed ({error}). {advice(error)}")


def log_failed(folder: Path, doing: str, error: OSError) -> LogFailed:
    """The `LogFailed` for a failed operation, with what to do about it."""
    return LogFailed(
        f"The Raft log in {folder} cannot go on: {doing} failed ({error}). {advice(error)}"
    )


def advice(error: OSError) -> str:
    """What to do about an error of the operating system."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "The disk is full: make room there and start the node again."
    if error.errno == errno.EFBIG:
        return "Raise this process's limit for the size of a file and start the node again."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "Make the folder writable for this user and start the node again."
    return "Check the disk and start the node again: it goes on from what is there."
