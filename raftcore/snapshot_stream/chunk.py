"""Chunks of a snapshot and receipts for them, and their bytes.

What decodes is well formed: the chunk lies within its snapshot, and is what was sent.  How large a
chunk may be is the transport's to limit, before it reads.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import DecodeError

from raftcore.codec import NUMBER_MAX, decode_message, encode_message
from raftcore.errors import Malformed
from raftcore.messages import Snapshot
from raftcore.snapshot_stream import stream_pb2 as pb
from raftcore.types import NODE_ID_CHARACTERS_MAX, NodeId

SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of a snapshot, and of which."""

    message: Snapshot
    """By which it is sent.  `message.meta.size` is that of the whole."""
    sha256: bytes
    """Of the whole: with the meta it says which snapshot this is.  Two nodes' snapshots of the same
    entry need not have the same bytes."""
    offset: int
    data: bytes
    """None asks how much the receiver has."""


class Verdict(IntEnum):
    """What a receiver says; the numbers are part of the format."""

    MORE = 1
    """Go on from `offset`."""
    DONE = 2
    """All of it is here and durable, or is not needed any more."""
    BUSY = 3
    """Another one is coming in, which is newer or from a later leader: try again later."""
    FAILED = 4
    """It could not be written, or did not come to what it should."""
    REFUSED = 5
    """Never: it is larger than this receiver takes."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a chunk."""

    follower: NodeId
    term: int
    session: int
    index: int
    """These three are of the chunk's message: what is answered."""
    verdict: Verdict
    offset: int = 0
    """How much the receiver has."""


def encode_chunk(chunk: Chunk) -> bytes:
    """A chunk as it travels."""
    message = encode_message(chunk.message)
    return pb.Chunk(
        message=message,
        sha256=chunk.sha256,
        offset=chunk.offset,
        data=chunk.data,
        crc=_crc(message, chunk.sha256, chunk.offset, chunk.data),
    ).SerializeToString()


def decode_chunk(data: bytes) -> Chunk:
    """The chunk that `encode_chunk` made these bytes of; `Malformed` for any others."""
    try:
        parsed = pb.Chunk.FromString(data)
    except DecodeError as error:
        raise Malformed(f"not a chunk: {error}") from None
    if _crc(parsed.message, parsed.sha256, parsed.offset, parsed.data) != parsed.crc:
        raise Malformed("a chunk that is not what was sent")
    message = decode_message(parsed.message)
    if not isinstance(message, Snapshot):
        raise Malformed("a chunk of no snapshot")
    if len(parsed.sha256) != SHA256_BYTES:
        raise Malformed("a chunk without a digest")
    if parsed.offset + len(parsed.data) > message.meta.size:
        raise Malformed("a chunk from behind its snapshot's end")
    return Chunk(message, parsed.sha256, parsed.offset, parsed.data)


def _crc(message: bytes, sha256: bytes, offset: int, data: bytes) -> int:
    head = zlib.crc32(sha256, zlib.crc32(message))
    return zlib.crc32(data, zlib.crc32(offset.to_bytes(8, "little"), head))


def encode_receipt(receipt: Receipt) -> bytes:
    """A receipt as it travels."""
    return pb.Receipt(
        follower=receipt.follower,
        term=receipt.term,
        session=receipt.session,
        index=receipt.index,
        verdict=receipt.verdict,
        offset=receipt.offset,
    ).SerializeToString()


def decode_receipt(data: bytes) -> Receipt:
    """The receipt that `encode_receipt` made these bytes of; `Malformed` for any others."""
    try:
        parsed = pb.Receipt.FromString(data)
    except DecodeError as error:
        raise Malformed(f"not a receipt: {error}") from None
    if not 0 < len(parsed.follower) <= NODE_ID_CHARACTERS_MAX:
        raise Malformed("a receipt of nobody")
    if parsed.verdict not in _VERDICTS:
        raise Malformed("a receipt of no known verdict")
    if max(parsed.term, parsed.session, parsed.index, parsed.offset) > NUMBER_MAX:
        raise Malformed("a receipt with a number out of range")
    return Receipt(
        parsed.follower,
        parsed.term,
        parsed.session,
        parsed.index,
        Verdict(parsed.verdict),
        parsed.offset,
    )


_VERDICTS = frozenset(map(int, Verdict))
