"""Batches and their bytes; large ones have a form of their own."""

from __future__ import annotations

import pytest

from raftcore.errors import Malformed
from raftcore.messages import AppendEntries, Heartbeat
from raftcore.types import Entry, EntryKind
from raftdjango.node.peers.batches import (
    HEAD_BYTES,
    decode_batch,
    decode_large,
    encode_batch,
    encode_large,
)
from raftdjango.node.peers.peer_pb2 import Batch, ForwardAnswer, MemberFacts
from raftdjango.node.peers.port import Forward
from raftdjango.node.rope import Rope


def append(*data: bytes) -> AppendEntries:
    entries = tuple(Entry(5 + n, 2, EntryKind.COMMAND, n, each) for n, each in enumerate(data))
    return AppendEntries(3, "n1", 4, 2, entries, 4, 1)


ITEMS = [
    append(b"one", b"", b"three" * 1000),
    Heartbeat(term=1, leader="n1", leader_commit=0, sequence=1),
    append(),
    append(b"four"),
    Forward(b"id", b"command"),
    Forward(b"empty"),
    ForwardAnswer(proposal_id=b"other", index=1),
    MemberFacts(term=3),
]


def test_both_forms_give_the_same_items() -> None:
    assert decode_batch(Batch.FromString(encode_batch(ITEMS))) == ITEMS
    pieces = encode_large(ITEMS)
    assert decode_large(Rope(pieces)) == ITEMS
    whole = b"".join(pieces)
    assert decode_large(Rope([whole])) == ITEMS
    assert decode_large(Rope([whole[n : n + 7] for n in range(0, len(whole), 7)])) == ITEMS


def test_forwards_before_entries_keep_what_is_theirs() -> None:
    mixed = [Forward(b"id", b"command"), append(b"data")]
    assert decode_large(Rope(encode_large(mixed))) == [mixed[1], mixed[0]]


def test_what_is_long_is_not_copied_to_be_sent() -> None:
    data, command = b"x" * 1000, b"y" * 1000
    chunks = encode_large([append(data), Forward(b"id", command)])
    assert any(chunk is data for chunk in chunks)
    assert any(chunk is command for chunk in chunks)
    assert sum(map(len, chunks)) < 2100


def test_nothing_else_passes_for_a_large_batch() -> None:
    whole = b"".join(encode_large(ITEMS))
    for cut in (0, 1, HEAD_BYTES, HEAD_BYTES + 5, len(whole) - 1):
        with pytest.raises(Malformed):
            decode_large(Rope([whole[:cut]]))
    with pytest.raises(Malformed):
        decode_large(Rope([whole, b"x"]))
    for behind in ([], [3], [3, 0, 0], [2**63] * 2):
        batch = Batch.FromString(encode_batch([append(b"", b"")]))
        batch.behind.extend(behind)
        head = batch.SerializeToString()
        with pytest.raises(Malformed):
            decode_large(Rope([len(head).to_bytes(HEAD_BYTES, "big"), head, b"abc"]))
