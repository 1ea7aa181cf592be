"""Large batches in pieces: what a receiver holds of them, and what a sender has left to send.

A batch is named by its digest, so a piece that is sent again after a broken connection continues
where the receiver stands, and pieces of two batches never mix.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from raftdjango.node.peer_pb2 import Fragment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


def digest_of(chunks: Iterable[bytes | bytearray]) -> bytes:
    """The name of the batch that these are, one behind another."""
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


class Whole:
    """A batch of which all pieces are there.  To see whether they are the right ones takes a while."""

    __slots__ = ("_claimed", "_content")

    def __init__(self, claimed: bytes, content: bytearray) -> None:
        self._claimed, self._content = claimed, content

    def content(self) -> bytearray:
        """Its bytes; raises `FragmentRefused`.  For a thread."""
        if digest_of((self._content,)) != self._claimed:
            raise FragmentRefused("malformed", "The pieces do not give the batch they claim.")
        return self._content


class Partials:
    """Unfinished batches of one sender, within `bytes_max` in all."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._parts: OrderedDict[bytes, bytearray] = OrderedDict()
        self._sizes: dict[bytes, int] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes buffered."""
        return sum(map(len, self._parts.values()))

    def add(self, piece: Fragment) -> tuple[int, Whole | None]:
        """Take a piece: contiguous bytes held from now on, and the batch once it is whole."""
        if not 0 < piece.size <= self._bytes_max or len(piece.digest) != 16:
            raise FragmentRefused(
                "too_large" if piece.size > self._bytes_max else "malformed",
                f"A batch of {piece.size} bytes; this node takes up to {self._bytes_max}.",
            )
        part = self._part(piece.digest, piece.size)
        if piece.offset + len(piece.data) > piece.size:
            raise FragmentRefused("malformed", "A piece reaches beyond its batch's end.")
        if piece.offset <= len(part):
            # Bytes already held are the same bytes: the digest will tell if they are not.
            part += piece.data[len(part) - piece.offset :]
        if len(part) < piece.size:
            return len(part), None
        self._forget(piece.digest)
        return piece.size, Whole(piece.digest, part)

    def _part(self, digest: bytes, size: int) -> bytearray:
        if self._sizes.get(digest, size) != size:
            self._forget(digest)
            raise FragmentRefused("malformed", "Pieces of one batch disagree about its size.")
        if digest not in self._parts:
            self._make_room(size)
            self._parts[digest], self._sizes[digest] = bytearray(), size
        self._parts.move_to_end(digest)
        return self._parts[digest]

    def _make_room(self, size: int) -> None:
        while self._parts and (
            len(self._parts) >= PARTIAL_MAX or sum(self._sizes.values()) + size > self._bytes_max
        ):
            self._forget(next(iter(self._parts)))

    def _forget(self, digest: bytes) -> None:
        self._parts.pop(digest, None)
        self._sizes.pop(digest, None)


class Outgoing:
    """A large batch on its way: cut into pieces, resumed where the receiver stands."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        """`chunks` are the batch, one behind another; they are never copied into one."""
        self._chunks = [memoryview(chunk) for chunk in chunks]
        self._size = sum(map(len, chunks))
        self._digest = digest_of(chunks)
        self._offset = 0

    def piece(self) -> Fragment:
        """The next piece."""
        return Fragment(
            digest=self._digest, offset=self._offset, size=self._size, data=self._data()
        )

    def _data(self) -> bytes:
        parts: list[memoryview] = []
        start, lacking = self._offset, FRAGMENT_BYTES
        for chunk in self._chunks:
            if start < len(chunk):
                parts.append(chunk[start : start + lacking])
                lacking -= len(parts[-1])
                if not lacking:
                    break
            start = max(start - len(chunk), 0)
        return b"".join(parts)

    def answered(self, reply: Fragment) -> bool:
        """Continue after what the receiver says it holds; True once it has everything."""
        if reply.digest == self._digest:
            self._offset = min(reply.received, self._size)
        return self._offset >= self._size
