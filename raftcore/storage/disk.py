"""The few file operations the log is made of.

A seam: tests put a disk here that loses unsynced writes, fills up or fails.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there the node's own lock must do.
    fcntl = None  # type: ignore[assignment]

_ZEROS = bytes(1 << 20)


class Disk:
    """Files of the operating system."""

    def open(self, path: Path) -> io.FileIO:
        """Open an existing file for writing in place."""
        return io.FileIO(path, "r+")

    def noise(self, length: int) -> bytes:
        """Random bytes that nobody can know."""
        return os.urandom(length)

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """Read by name, so that readers share no file position with the writer."""
        with io.FileIO(path, "r") as file:
            file.seek(offset)
            if length < 0:
                return file.readall()
            parts = bytearray()
            while len(parts) < length and (part := file.read(length - len(parts))):
                parts += part
            return bytes(parts)

    def write(self, file: io.FileIO, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        file.seek(offset)
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]

    def sync(self, file: io.FileIO) -> None:
        """Make what was written to a file of unchanged size durable."""
        if sys.platform == "darwin" and fcntl is not None:
            # fsync() stops at the drive's cache there.
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(file.fileno())
        else:
            os.fsync(file.fileno())

    def sync_folder(self, folder: Path) -> None:
        """Make creations and renames in `folder` durable."""
        if sys.platform == "win32":
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def make_folder(self, folder: Path) -> None:
        """Make a folder, and those above it, where they are missing; its name is durable then.

        Also of one that is there: whoever made it may have been killed before it was.  Each is
        made only when the name of the one above it is durable, so no more need be looked at.
        """
        if folder.is_dir():
            # Where the folder above may not be read, it was hardly this user who made this one.
            with suppress(PermissionError):
                self.sync_folder(folder.parent)
            return
        self.make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self.sync_folder(folder.parent)

    def create(self, path: Path, size: int) -> None:
        """Make a durable file of `size` zeros.

        The zeros are really written: syncs of a file whose blocks and size are settled are the
        cheapest there are.  The name appears once the content is complete.
        """
        unfinished = path.with_suffix(".unfinished")
        try:
            with io.FileIO(unfinished, "w") as file:
                for start in range(0, size, len(_ZEROS)):
                    self.write(file, _ZEROS[: size - start], start)
                self.settle(file)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        self.rename(unfinished, path)
        self.sync_folder(path.parent)

    def put(self, path: Path, content: bytes) -> None:
        """Make a file with this content; its name is durable once the folder was synced."""
        try:
            with io.FileIO(path, "w") as file:
                self.write(file, content, 0)
                self.settle(file)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def settle(self, file: io.FileIO) -> None:
        """Make a file that has grown durable."""
        if sys.platform == "darwin":
            self.sync(file)
        else:
            os.fsync(file.fileno())

    def rename(self, path: Path, to: Path) -> None:
        """Give a file a name, in place of the one that has it; durable with the folder's sync."""
        path.replace(to)

    def remove(self, path: Path) -> None:
        """Remove a file if it is there; durable once the folder was synced."""
        path.unlink(missing_ok=True)

    def extend(self, path: Path, size: int) -> None:
        """Make an existing file `size` long by adding zeros, durably."""
        with io.FileIO(path, "r+") as file:
            start = file.seek(0, io.SEEK_END)
            if start < size:
                self.write(file, bytes(size - start), start)
            os.fsync(file.fileno())

    def lock(self, file: io.FileIO) -> bool:
        """Take the file for this process; false if another one has it."""
        if fcntl is None:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
