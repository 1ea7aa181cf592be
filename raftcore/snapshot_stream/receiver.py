"""The receiving end: which chunks are taken, and what is to be done with them.

One snapshot comes in at a time.  Another one takes its place when it is sent by a later leader, is
newer, or was begun anew by the same leader, or when the present one has been silent for long.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from raftcore.snapshot_stream.chunk import Chunk, Receipt, Verdict
from raftcore.types import NodeId, SnapshotMeta

if TYPE_CHECKING:
    from hashlib import _Hash

    from raftcore.messages import Snapshot

IDLE_MS = 60_000
"""After so long without a chunk, what came in makes room for any other."""


@dataclass(frozen=True, slots=True)
class Received:
    """What is to be done, in this order; then the receipt is to be sent.

    Where the store fails, `SnapshotReceiver.failed` gives the receipt to send instead.
    """

    receipt: Receipt
    drop: bool = False
    """Abort the writer: what came in so far is not wanted any more."""
    begin: SnapshotMeta | None = None
    """Begin to write this one."""
    write: bytes = b""
    """Write this behind what was written."""
    commit: bool = False
    """All of it was written, and is what it should be: commit the writer."""
    arrived: Snapshot | None = None
    """Tell the core with `snapshot_arrived`, once the store has it."""


@dataclass(slots=True)
class _Unfinished:
    message: Snapshot
    """The latest by which it is sent."""
    sha256: bytes
    touched_ms: int
    offset: int = 0
    digest: _Hash = field(default_factory=lambda: sha256())

    def is_of(self, chunk: Chunk) -> bool:
        return (self.message.meta, self.sha256) == (chunk.message.meta, chunk.sha256)


class SnapshotReceiver:
    """Of one node.  What it has begun ends with the process, as the store's unfinished files do."""

    def __init__(
        self, node_id: NodeId, *, size_max: int | None = None, idle_ms: int = IDLE_MS
    ) -> None:
        self._node_id = node_id
        self._size_max = size_max
        self._idle_ms = idle_ms
        self._unfinished: _Unfinished | None = None
        self._complete: tuple[SnapshotMeta, bytes] | None = None
        """The last that came in whole."""

    @property
    def offset(self) -> int | None:
        """How much of the one that comes in is here; None while none does."""
        return self._unfinished.offset if self._unfinished is not None else None

    def receive(self, chunk: Chunk, now_ms: int, *, commit_index: int) -> Received:
        """Take a chunk; `commit_index` is the core's, and what it covers needs no snapshot."""
        message, meta = chunk.message, chunk.message.meta
        drop = self.forget_if_covered(commit_index)
        if meta.index <= commit_index:
            return Received(self._receipt(chunk, Verdict.DONE, meta.size), drop, arrived=message)
        if (meta, chunk.sha256) == self._complete:
            return Received(self._receipt(chunk, Verdict.DONE, meta.size), drop, arrived=message)
        if self._size_max is not None and meta.size > self._size_max:
            return Received(self._receipt(chunk, Verdict.REFUSED), drop)
        known = self._unfinished
        begin = None
        if known is None or not known.is_of(chunk):
            if known is not None and not self._gives_way(known, message, now_ms):
                return Received(self._receipt(chunk, Verdict.BUSY), drop)
            drop = drop or known is not None
            known = self._unfinished = _Unfinished(message, chunk.sha256, now_ms)
            begin = meta
        elif _rank(message) > _rank(known.message):
            known.message = message
        known.touched_ms = now_ms
        return self._take(known, chunk, begin=begin, drop=drop)

    def _take(
        self, known: _Unfinished, chunk: Chunk, *, begin: SnapshotMeta | None, drop: bool
    ) -> Received:
        """Take what stands right behind what is here; nothing that leaves a gap or comes again."""
        write = chunk.data if chunk.offset == known.offset else b""
        known.digest.update(write)
        known.offset += len(write)
        meta = known.message.meta
        if known.offset < meta.size:
            receipt = self._receipt(chunk, Verdict.MORE, known.offset)
            return Received(receipt, drop, begin, write)
        self._unfinished = None
        if known.digest.digest() != known.sha256:
            # What was begun in this very step is not begun at all.
            drop = drop or begin is None
            return Received(self._receipt(chunk, Verdict.FAILED), drop)
        self._complete = meta, known.sha256
        receipt = self._receipt(chunk, Verdict.DONE, meta.size)
        return Received(receipt, drop, begin, write, commit=True, arrived=known.message)

    def _gives_way(self, known: _Unfinished, message: Snapshot, now_ms: int) -> bool:
        idle = now_ms - known.touched_ms >= self._idle_ms
        return idle or _rank(message) > _rank(known.message)

    def failed(self, chunk: Chunk) -> Receipt:
        """The store could not do what was said, or has not got it any more: begin anew."""
        self._unfinished = None
        self._complete = None
        return self._receipt(chunk, Verdict.FAILED)

    def forget_if_covered(self, commit_index: int) -> bool:
        """Forget what is not needed any more; whether there is something to abort."""
        if self._unfinished is None or self._unfinished.message.meta.index > commit_index:
            return False
        self._unfinished = None
        return True

    def _receipt(self, chunk: Chunk, verdict: Verdict, offset: int = 0) -> Receipt:
        message = chunk.message
        return Receipt(
            self._node_id, message.term, message.session, message.meta.index, verdict, offset
        )


def _rank(message: Snapshot) -> tuple[int, int, int]:
    """A later leader's first, whatever it sends: an earlier one may not be there to finish."""
    return message.term, message.meta.index, message.session
