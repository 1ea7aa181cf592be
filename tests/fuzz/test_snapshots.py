"""Snapshots on disk, and the chunks in which they travel."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from raftcore import Malformed
from raftcore.messages import Snapshot
from raftcore.snapshot_stream import (
    Chunk,
    Receipt,
    SnapshotReceiver,
    Verdict,
    decode_chunk,
    decode_receipt,
    encode_chunk,
    encode_receipt,
)
from raftcore.storage import DiskSnapshots, SnapshotDamaged
from tests.fuzz.material import damaged, frugal, ids, numbers, seeded
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


chunks = st.builds(
    lambda at, size, content, term: Chunk(
        Snapshot(term, "n1", 3, replace(WHAT, size=at + len(content) + size)),
        sha256(content).digest(),
        at,
        content,
    ),
    numbers.filter(lambda number: number < 1 << 60),
    st.integers(0, 1000),
    st.binary(max_size=60),
    st.integers(1, 99),
)
receipts = st.builds(Receipt, ids, numbers, numbers, numbers, st.sampled_from(Verdict), numbers)


@seeded
@given(st.one_of(st.binary(max_size=200), damaged(chunks.map(encode_chunk))))
def test_a_chunk_is_one_or_malformed(data):
    try:
        chunk = frugal(decode_chunk, data)
    except Malformed:
        return
    assert decode_chunk(encode_chunk(chunk)) == chunk
    assert chunk.offset + len(chunk.data) <= chunk.message.meta.size


@seeded
@given(st.one_of(st.binary(max_size=200), damaged(receipts.map(encode_receipt))))
def test_a_receipt_is_one_or_malformed(data):
    try:
        receipt = frugal(decode_receipt, data)
    except Malformed:
        return
    assert decode_receipt(encode_receipt(receipt)) == receipt


@seeded
@given(st.lists(chunks, max_size=10), st.integers(0, 20))
def test_a_receiver_that_is_told_nonsense_keeps_nothing_of_it(told, commit_index):
    receiver = SnapshotReceiver("n2")
    for now_ms, chunk in enumerate(told):
        received = receiver.receive(chunk, now_ms, commit_index=commit_index)
        if received.commit:
            whole = sha256(chunk.data).digest()
            assert (chunk.offset, chunk.sha256) == (0, whole)
