"""Large batches in pieces: what a receiver holds of them, and what a sender has left to send.

A batch is named by its digest, so a piece that is sent again after a broken connection continues
where the receiver stands, and pieces of two batches never mix.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from raftdjango.node.peers.peer_pb2 import Fragment
from raftdjango.node.rope import Rope

FRAGMENT_BYTES = 1024 * 1024
"""Data in one piece."""
WHOLE_BYTES_MAX = 2 * 1024 * 1024
"""Batches up to this size travel in one request."""
BATCH_OVERHEAD = 4 * 1024 * 1024
"""What a batch may hold beyond one entry of `TRANSACTION_BYTES_MAX`."""
PARTIAL_MAX = 2
"""Unfinished batches kept per sender: the one under way and one it gave up."""


class FragmentRefused(Exception):
    """A piece that fits nowhere; `code` for machines, the text for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def digest_of(batch: Rope) -> bytes:
    """A batch's name."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in batch.pieces:
        digest.update(piece)
    return digest.digest()


class Whole:
    """A batch of which all pieces are there.  To see whether they are the right ones takes a while."""

    __slots__ = ("_claimed", "_content")

    def __init__(self, claimed: bytes, content: Rope) -> None:
        self._claimed, self._content = claimed, content

    def content(self) -> Rope:
        """Its bytes; raises `FragmentRefused`.  For a thread."""
        if digest_of(self._content) != self._claimed:
            raise FragmentRefused("malformed", "The pieces do not give the batch they claim.")
        return self._content


class _Part:
    """What is held of a batch.  In pieces: to gather them in one place means to move that about."""

    __slots__ = ("held", "pieces", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        """Of the whole batch."""
        self.held = 0
        self.pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        self.held += len(data)
        # Crumbs are gathered, or each would cost more than its bytes.
        if self.pieces and len(self.pieces[-1]) + len(data) <= FRAGMENT_BYTES:
            self.pieces[-1] += data
        else:
            self.pieces.append(data)


class Partials:
    """Unfinished batches of one sender, within `bytes_max` in all."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._parts: OrderedDict[bytes, _Part] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Bytes buffered."""
        return sum(part.held for part in self._parts.values())

    def add(self, piece: Fragment) -> tuple[int, Whole | None]:
        """Take a piece: contiguous bytes held from now on, and the batch once it is whole."""
        if not 0 < piece.size <= self._bytes_max or len(piece.digest) != 16:
            raise FragmentRefused(
                "too_large" if piece.size > self._bytes_max else "malformed",
                f"A batch of {piece.size} bytes; this node takes up to {self._bytes_max}.",
            )
        part = self._part(piece.digest, piece.size)
        data = piece.data
        if piece.offset + len(data) > piece.size:
            raise FragmentRefused("malformed", "A piece reaches beyond its batch's end.")
        if piece.offset <= part.held < piece.offset + len(data):
            # Bytes already held are the same bytes: the digest will tell if they are not.
            part.add(data[part.held - piece.offset :])
        if part.held < piece.size:
            return part.held, None
        del self._parts[piece.digest]
        return piece.size, Whole(piece.digest, Rope(part.pieces))

    def _part(self, digest: bytes, size: int) -> _Part:
        part = self._parts.get(digest)
        if part is None:
            self._make_room(size)
            part = self._parts[digest] = _Part(size)
        elif part.size != size:
            del self._parts[digest]
            raise FragmentRefused("malformed", "Pieces of one batch disagree about its size.")
        self._parts.move_to_end(digest)
        return part

    def _make_room(self, size: int) -> None:
        while self._parts and (
            len(self._parts) >= PARTIAL_MAX
            or sum(part.size for part in self._parts.values()) + size > self._bytes_max
        ):
            self._parts.popitem(last=False)


class Outgoing:
    """A large batch on its way: cut into pieces, resumed where the receiver stands."""

    def __init__(self, batch: Rope) -> None:
        self._batch = batch
        self._digest = digest_of(batch)
        self._offset = 0

    def piece(self) -> Fragment:
        """The next piece."""
        return Fragment(
            digest=self._digest,
            offset=self._offset,
            size=len(self._batch),
            data=self._batch.read(self._offset, FRAGMENT_BYTES),
        )

    def answered(self, reply: Fragment) -> bool:
        """Continue after what the receiver says it holds; True once it has everything."""
        if reply.digest == self._digest:
            self._offset = min(reply.received, len(self._batch))
        return self._offset >= len(self._batch)
