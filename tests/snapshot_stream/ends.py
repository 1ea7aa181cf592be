"""The two ends with a store each, and what a driver does between them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from hashlib import sha256

from raftcore.messages import Snapshot
from raftcore.snapshot_stream import (
    Chunk,
    Receipt,
    SnapshotReceiver,
    SnapshotSender,
    decode_chunk,
    decode_receipt,
    encode_chunk,
    encode_receipt,
)
from raftcore.storage import MemorySnapshots, SnapshotFailed, SnapshotWriter
from tests.storage.logs import snapshot

CONTENT = random.Random(1).randbytes(1000)


def message(
    content: bytes = CONTENT, *, index: int = 50, term: int = 5, session: int = 1
) -> Snapshot:
    return Snapshot(term, "n1", session, replace(snapshot(index, 3), size=len(content)))


def chunk(
    of: Snapshot, offset: int, data: bytes, content: bytes = CONTENT, digest: bytes | None = None
) -> Chunk:
    return Chunk(of, digest or sha256(content).digest(), offset, data)


@dataclass
class Sending:
    """A sender and what it reads from."""

    content: bytes = CONTENT
    of: Snapshot = field(default_factory=message)
    now_ms: int = 0
    chunk_bytes: int = 100
    bytes_per_s: int | None = None
    attempts_max: int = 5

    def __post_init__(self) -> None:
        self.sender = SnapshotSender(
            self.of,
            sha256(self.content).digest(),
            now_ms=self.now_ms,
            chunk_bytes=self.chunk_bytes,
            bytes_per_s=self.bytes_per_s,
            retry_ms=1000,
            attempts_max=self.attempts_max,
        )

    def next(self, now_ms: int) -> Chunk | None:
        wanted = self.sender.next(now_ms)
        if wanted is None:
            return None
        data = self.content[wanted.offset : wanted.offset + wanted.length]
        return decode_chunk(encode_chunk(self.sender.chunk(wanted, data)))

    def answered(self, receipt: Receipt, now_ms: int) -> None:
        self.sender.answered(decode_receipt(encode_receipt(receipt)), now_ms)


class Receiving:
    """A receiver and what it writes to."""

    def __init__(self, *, size_max: int | None = None) -> None:
        self.receiver = SnapshotReceiver("n2", size_max=size_max, idle_ms=10_000)
        self.store = MemorySnapshots()
        self.writer: SnapshotWriter | None = None
        self.arrived: list[Snapshot] = []
        self.commit_index = 0
        self.full = False

    def restart(self) -> None:
        """The process is another one: what was not committed is gone."""
        self.receiver = SnapshotReceiver("n2", idle_ms=10_000)
        self.writer = None

    def receive(self, chunk: Chunk, now_ms: int = 0) -> Receipt:
        received = self.receiver.receive(chunk, now_ms, commit_index=self.commit_index)
        try:
            if received.drop:
                assert self.writer is not None
                self.writer.abort()
                self.writer = None
            if received.begin is not None:
                assert self.writer is None
                self.writer = self.store.begin(received.begin)
            if received.write:
                assert self.writer is not None
                if self.full:
                    self.writer.abort()
                self.writer.write(received.write)
            if received.commit:
                assert self.writer is not None
                self.writer.commit()
                self.writer = None
        except SnapshotFailed:
            self.writer = None
            return self.receiver.failed(chunk)
        if received.arrived is not None:
            self.arrived.append(received.arrived)
        return received.receipt

    def content(self, of: Snapshot) -> bytes:
        return self.store.open(of.meta).read(1 << 20)
