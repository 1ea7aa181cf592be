"""Bytes of chunks and receipts: what decodes is well formed, all else is malformed."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from raftcore import Malformed
from raftcore.codec import NUMBER_MAX, encode_message
from raftcore.messages import TimeoutNow
from raftcore.snapshot_stream import (
    Receipt,
    Verdict,
    chunk,
    decode_chunk,
    decode_receipt,
    encode_chunk,
    encode_receipt,
)
from raftcore.snapshot_stream import stream_pb2 as pb
from tests.snapshot_stream.ends import CONTENT, message
from tests.snapshot_stream.ends import chunk as some_chunk

CHUNK = some_chunk(message(), 900, CONTENT[900:])
RECEIPT = Receipt("n2", 5, 1, 50, Verdict.MORE, 900)


def test_they_arrive_as_they_were_sent() -> None:
    assert decode_chunk(encode_chunk(CHUNK)) == CHUNK
    for verdict in Verdict:
        receipt = replace(RECEIPT, verdict=verdict)
        assert decode_receipt(encode_receipt(receipt)) == receipt


def test_a_chunk_changed_anywhere_is_not_taken() -> None:
    whole = encode_chunk(CHUNK)
    for position in range(len(whole)):
        for flip in (0x01, 0x80):
            changed = bytearray(whole)
            changed[position] ^= flip
            with pytest.raises(Malformed):
                decode_chunk(bytes(changed))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (replace(CHUNK, offset=901), "behind its snapshot's end"),
        (replace(CHUNK, sha256=b"short"), "without a digest"),
    ],
)
def test_a_chunk_that_fits_no_snapshot_is_malformed(wrong, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode_chunk(encode_chunk(wrong))


def test_a_chunk_of_another_message_is_malformed() -> None:
    other = encode_message(TimeoutNow(5, "n1"))
    crc = chunk._crc(other, bytes(32), 0, b"")
    data = pb.Chunk(message=other, sha256=bytes(32), crc=crc).SerializeToString()
    with pytest.raises(Malformed, match="no snapshot"):
        decode_chunk(data)


@pytest.mark.parametrize("decode", [decode_chunk, decode_receipt])
def test_what_is_no_protobuf_is_malformed(decode) -> None:
    with pytest.raises(Malformed, match="not a "):
        decode(b"\xff\xff")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"follower": ""}, "nobody"),
        ({"follower": "n" * 256}, "nobody"),
        ({"verdict": 0}, "verdict"),
        ({"verdict": 6}, "verdict"),
        ({"term": NUMBER_MAX + 1}, "range"),
        ({"offset": NUMBER_MAX + 1}, "range"),
    ],
)
def test_a_receipt_of_nonsense_is_malformed(wrong: dict[str, object], why: str) -> None:
    fields = {"follower": "n2", "verdict": 1, **wrong}
    with pytest.raises(Malformed, match=why):
        decode_receipt(pb.Receipt(**fields).SerializeToString())


MODULES = sorted(Path(chunk.__file__).parent.glob("*.py"))
ALLOWED = {"__future__", "dataclasses", "enum", "google", "hashlib", "raftcore", "typing", "zlib"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_both_ends_import_nothing_that_does_something(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert {name.partition(".")[0] for name in names} <= ALLOWED, names
