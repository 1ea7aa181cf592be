"""`DATA_DIR` on disk: whose it is, and that one raftnode at a time uses it.

    DATA_DIR/lock                    flock held for life, with the process id inside
    DATA_DIR/<group>/identity.json   node id, group, incarnation, cluster id
    DATA_DIR/<group>/log/            the write-ahead log
    DATA_DIR/<group>/node.sock       the local channel

The incarnation is drawn once, when the folder is made: a folder that was wiped comes back with
another one, so that its peers can tell a node that lost its votes from the one they knew.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from raftdjango.node.errors import StartRefused

FORMAT = 1
INCARNATION_BYTES = 16
SOCKET_PATH_BYTES_MAX = 107 if sys.platform.startswith("linux") else 103
"""What the kernel takes for a Unix socket's name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a group's folder says of itself."""

    group: str
    node_id: str
    incarnation: bytes
    cluster_id: bytes = b""
    """Empty until the cluster has formed."""


class DataDirLock:
    """The lock file of a data directory, held from `acquire` until the process ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock, or say who has it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            who = f" (process {holder})" if holder else ""
            raise StartRefused(
                f"Another raftnode{who} runs on this data directory: {self._path.parent}. "
                "Stop it first, or give this one a DATA_DIR of its own."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; the file stays, since removing it would let two holders lock two files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def check_socket_path(path: Path) -> None:
    """Refuse a name that no socket can have."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_BYTES_MAX:
        raise StartRefused(
            f"The local channel's socket would be {path}, which is {size} bytes long; the system "
            f"allows {SOCKET_PATH_BYTES_MAX}. Set RAFTDJANGO['DATA_DIR'] to a shorter path."
        )


def open_identity(group_dir: Path, *, group: str, node_id: str) -> Identity:
    """Read the folder's identity, or give a new folder one; refuse a folder of somebody else."""
    path = group_dir / "identity.json"
    if not path.exists():
        if any(group_dir.glob("log/*")):
            raise StartRefused(
                f"{path} is missing beside a log. Put it back from where the rest of the folder "
                "came from; without it this node could vote twice."
            )
        identity = Identity(group, node_id, os.urandom(INCARNATION_BYTES))
        group_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_identity(group_dir, identity)
        return identity
    identity = _read(path)
    if identity.node_id != node_id:
        raise StartRefused(
            f"{group_dir} belongs to node {identity.node_id!r}, and this is node {node_id!r}. "
            "Correct RAFTDJANGO['NODE_ID'] or RAFTDJANGO['DATA_DIR']."
        )
    if identity.group != group:
        raise StartRefused(
            f"{group_dir} belongs to group {identity.group!r}, not to {group!r}. "
            "Correct OPTIONS['raft']['group'] of the database, or DATA_DIR."
        )
    # Whoever wrote it may have been killed before its name was durable.
    _sync_names(group_dir)
    return identity


def with_cluster(identity: Identity, cluster_id: bytes) -> Identity:
    """The identity once the cluster has formed."""
    return replace(identity, cluster_id=cluster_id)


def write_identity(group_dir: Path, identity: Identity) -> None:
    """Replace the file as a whole, durably."""
    path = group_dir / "identity.json"
    temporary = path.with_suffix(".new")
    text = json.dumps(
        {
            "format": FORMAT,
            "group": identity.group,
            "node_id": identity.node_id,
            "incarnation": identity.incarnation.hex(),
            "cluster_id": identity.cluster_id.hex(),
        },
        indent=1,
    )
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_names(group_dir)


def _sync_names(group_dir: Path) -> None:
    sync_folder(group_dir)
    sync_folder(group_dir.parent)


def sync_folder(folder: Path) -> None:
    """Make names made or replaced in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> Identity:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields["format"] != FORMAT:
            raise StartRefused(
                f"{path} has format {fields['format']}; this release knows {FORMAT}. "
                "Run the release that wrote it, or a newer one."
            )
        return Identity(
            group=str(fields["group"]),
            node_id=str(fields["node_id"]),
            incarnation=bytes.fromhex(fields["incarnation"]),
            cluster_id=bytes.fromhex(fields["cluster_id"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StartRefused(f"{path} cannot be read ({error}). Restore it from a copy.") from error
