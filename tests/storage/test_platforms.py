"""What differs between systems, and what a refusal advises."""

from __future__ import annotations

import errno
import io
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from raftcore.storage import LogDamaged, MemoryLog, record_pb2
from raftcore.storage import disk as disk_module
from raftcore.storage.disk import Disk
from raftcore.storage.errors import log_failed
from raftcore.storage.segment import HEADER_BYTES, Header, Seal, encode_frame
from tests.storage.logs import open_log


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EFBIG, "limit for the size of a file"),
        (errno.EACCES, "writable"),
        (errno.EROFS, "writable"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_a_failed_write_says_what_to_do(number: int, advice: str) -> None:
    failure = log_failed(Path("raft"), "writing", OSError(number, "so it is"))
    assert advice in str(failure)
    assert "so it is" in str(failure)


@pytest.fixture
def file(tmp_path: Path):
    with io.FileIO(tmp_path / "file", "w") as opened:
        yield opened


def test_on_macos_a_sync_goes_beyond_the_drives_cache(file, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(disk_module.sys, "platform", "darwin")
    fake = SimpleNamespace(F_FULLFSYNC=51, fcntl=lambda handle, what: asked.append((handle, what)))
    monkeypatch.setattr(disk_module, "fcntl", fake)
    Disk().sync(file)
    Disk().settle(file)
    assert asked == [(file.fileno(), 51)] * 2


def test_without_fdatasync_everything_is_synced(file, monkeypatch) -> None:
    synced = []
    monkeypatch.delattr(os, "fdatasync", raising=False)
    monkeypatch.setattr(os, "fsync", synced.append)
    Disk().sync(file)
    assert synced == [file.fileno()]


def test_on_windows_folders_are_not_synced_and_files_not_locked(
    file, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(disk_module.sys, "platform", "win32")
    monkeypatch.setattr(disk_module, "fcntl", None)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a folder cannot be opened there"))
    Disk().sync_folder(tmp_path)
    assert Disk().lock(file)


def test_it_can_be_imported_there(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert runpy.run_path(disk_module.__file__)["fcntl"] is None


def test_memory_always_has_room() -> None:
    assert MemoryLog().has_room(1 << 40)


def test_a_file_that_cannot_be_finished_is_not_left(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    disk = Disk()
    monkeypatch.setattr(disk, "write", full)
    with pytest.raises(OSError, match="full"):
        disk.create(tmp_path / "segment.wal", 10)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_long_enough_is_not_extended(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    Disk().extend(path, 5)
    assert path.read_bytes() == b"x" * 10
    Disk().extend(path, 12)
    assert path.read_bytes() == b"x" * 10 + b"\0\0"


def test_reading_beyond_the_end_gives_what_there_is(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert Disk().read(path, 8, 100) == b"89"


SEAL = Seal.drawn(bytes(range(12)))
NO_PROTOBUF = b"\xff\xff"
COLUMNS_DIFFER = record_pb2.Record(first_index=1, terms=[1]).SerializeToString()
UNKNOWN_KIND = record_pb2.Record(
    first_index=1, terms=[1], times_ms=[0], kinds=b"\x63", data=[b""]
).SerializeToString()
BEYOND_THE_LOG = record_pb2.Record(
    first_index=9, terms=[1], times_ms=[0], kinds=b"\x01", data=[b""]
).SerializeToString()


@pytest.mark.parametrize("payload", [NO_PROTOBUF, COLUMNS_DIFFER, UNKNOWN_KIND, BEYOND_THE_LOG])
def test_a_whole_frame_whose_content_is_no_record_is_refused(tmp_path, payload: bytes) -> None:
    # Its checksum holds, so it was written like this: by something that is not this program.
    frame, _ = encode_frame([payload], 0, SEAL, HEADER_BYTES)
    content = Header(1, 1, 0, SEAL).encode() + frame
    (tmp_path / "0000000000000001.wal").write_bytes(content.ljust(4096, b"\0"))
    with pytest.raises(LogDamaged, match="cannot be read") as caught:
        open_log(tmp_path)
    assert caught.value.offset == HEADER_BYTES


def test_a_first_segment_that_goes_on_from_another_is_refused(tmp_path) -> None:
    (tmp_path / "0000000000000001.wal").write_bytes(
        Header(1, 1, 7, SEAL).encode().ljust(4096, b"\0")
    )
    with pytest.raises(LogDamaged, match="earlier segments are missing"):
        open_log(tmp_path)
