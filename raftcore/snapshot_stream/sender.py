"""The sending end: what to send when, how fast, and when to give up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftcore.snapshot_stream.chunk import Chunk, Receipt, Verdict

if TYPE_CHECKING:
    from raftcore.messages import Snapshot

CHUNK_BYTES = 1 << 20
RETRY_MS = 1000
ATTEMPTS_MAX = 30
"""In a row that bring the receiver nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part of the snapshot to be sent now; one of no length asks how much the receiver has."""

    offset: int
    length: int


class SnapshotSender:
    """Of one snapshot to one follower: of one `SendSnapshot`."""

    def __init__(
        self,
        message: Snapshot,
        sha256: bytes,
        *,
        now_ms: int,
        chunk_bytes: int = CHUNK_BYTES,
        bytes_per_s: int | None = None,
        retry_ms: int = RETRY_MS,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        """`bytes_per_s` bounds what is sent, but for one chunk at a time; None does not."""
        if min(chunk_bytes, attempts_max) < 1 or (bytes_per_s is not None and bytes_per_s < 1):
            raise ValueError("chunk_bytes, attempts_max and bytes_per_s must be positive")
        self.message = message
        self._sha256 = sha256
        self._chunk_bytes = chunk_bytes
        self._bytes_per_s = bytes_per_s
        self._retry_ms = retry_ms
        self._attempts_max = attempts_max
        self._free_us = now_ms * 1000
        """When the next one may be sent."""
        self._received: int | None = None
        """What the receiver has; None until it has said so."""
        self._attempts = 0
        self._in_flight = False
        self.ok: bool | None = None
        """Whether it is all there; None while it is not known.  For `core.snapshot_sent`."""

    @property
    def progress(self) -> tuple[int, int]:
        """How many bytes the receiver has, of how many."""
        return self._received or 0, self.message.meta.size

    def next(self, now_ms: int) -> Wanted | None:
        """What to send now; None while an answer or its time is awaited, or when it is over.

        What it gives is taken for sent: `answered` or `lost` has to follow.
        """
        if self.ok is not None or self._in_flight or now_ms * 1000 < self._free_us:
            return None
        self._in_flight = True
        if self._received is None:
            return Wanted(0, 0)
        length = min(self._chunk_bytes, self.message.meta.size - self._received)
        if self._bytes_per_s is not None:
            self._free_us = now_ms * 1000 + -(-length * 1_000_000 // self._bytes_per_s)
        return Wanted(self._received, length)

    def next_timer(self) -> int | None:
        """When `next` will have something; None while an answer is awaited, or when it is over."""
        if self.ok is not None or self._in_flight:
            return None
        return -(-self._free_us // 1000)

    def chunk(self, wanted: Wanted, data: bytes) -> Chunk:
        """The chunk to send, with what was read from the snapshot at the place wanted."""
        if len(data) != wanted.length:
            raise ValueError(f"{len(data)} bytes instead of {wanted.length}")
        return Chunk(self.message, self._sha256, wanted.offset, data)

    def answered(self, receipt: Receipt, now_ms: int) -> bool:
        """The receiver has answered; False if this is of another transfer: go on waiting."""
        message = self.message
        of = (receipt.term, receipt.session, receipt.index)
        if of != (message.term, message.session, message.meta.index):
            return False
        if self.ok is None:
            self._in_flight = False
            self._take(receipt, now_ms)
        return True

    def _take(self, receipt: Receipt, now_ms: int) -> None:
        message = self.message
        if receipt.verdict is Verdict.DONE:
            self._received = message.meta.size
            self.ok = True
        elif receipt.verdict is Verdict.BUSY:
            self._received = None
            self._fall_behind(now_ms)
        elif receipt.verdict is Verdict.MORE and receipt.offset < message.meta.size:
            before, self._received = self._received, receipt.offset
            if before is None:
                return
            if receipt.offset > before:
                self._attempts = 0
            else:
                self._fall_behind(now_ms)
        else:
            # Whether to try again, and with which snapshot, the core says after a pause.
            self.ok = False

    def lost(self, now_ms: int) -> None:
        """No answer came, or the way there is broken: ask again how much there is."""
        if self.ok is None:
            self._in_flight = False
            self._received = None
            self._fall_behind(now_ms)

    def give_up(self) -> None:
        """The snapshot cannot be read, or another one is to be sent."""
        if self.ok is None:
            self.ok = False

    def _fall_behind(self, now_ms: int) -> None:
        self._attempts += 1
        self._free_us = max(self._free_us, (now_ms + self._retry_ms) * 1000)
        if self._attempts >= self._attempts_max:
            self.ok = False
