"""Snapshots on disk, and the chunks in which they travel."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from raftcore.storage import DiskSnapshots, SnapshotDamaged
from tests.fuzz.material import damaged, frugal, seeded
from tests.storage.disks import QuickDisk
from tests.storage.logs import snapshot

WHAT = replace(snapshot(7, 3), size=0)


def stored(content: bytes) -> bytes:
    """The file that a snapshot with this content makes."""
    with tempfile.TemporaryDirectory() as name:
        store = DiskSnapshots(Path(name), disk=QuickDisk())
        writer = store.begin(WHAT)
        writer.write(content)
        return store.path(writer.commit()).read_bytes()


def opened(file: bytes) -> bytes | None:
    """What a file gives out; None where it is refused."""
    with tempfile.TemporaryDirectory() as name:
        store = DiskSnapshots(Path(name), disk=QuickDisk())
        store.path(WHAT).write_bytes(file)
        store = DiskSnapshots(Path(name), disk=QuickDisk())
        try:
            with closing(store.open(WHAT)) as reader:
                content = reader.read(1 << 30)
            assert store.latest() == reader.meta
        except SnapshotDamaged:
            store.snapshots()
            return None
        return content


contents = st.binary(max_size=200)


@seeded
@given(st.one_of(st.binary(max_size=300), contents.map(lambda data: data + stored(b"")[-16:])))
def test_no_garbage_is_a_snapshot(data):
    assert frugal(opened, data) is None


@seeded
@given(st.data())
def test_a_damaged_snapshot_is_refused(data):
    content = data.draw(contents)
    whole = stored(content)
    changed = data.draw(damaged(st.just(whole)))
    assert frugal(opened, changed) == (content if changed == whole else None)
