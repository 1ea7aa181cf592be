from __future__ import annotations

import itertools
import os

import pytest

from raftdjango.node.peers.fragments import (
    FRAGMENT_BYTES,
    PARTIAL_MAX,
    FragmentRefused,
    Outgoing,
    Partials,
    digest_of,
)
from raftdjango.node.peers.peer_pb2 import Fragment
from raftdjango.node.rope import Rope

BATCH = os.urandom(3 * FRAGMENT_BYTES + 17)
CUTS = (0, 3, 3, FRAGMENT_BYTES // 2, 2 * FRAGMENT_BYTES, 2 * FRAGMENT_BYTES + 1, None)


def outgoing_of(batch: bytes) -> Outgoing:
    """In chunks of any length, none of which ends with a piece."""
    return Outgoing(Rope([batch[start:end] for start, end in itertools.pairwise(CUTS)]))


def deliver(outgoing: Outgoing, partials: Partials, pieces: int = 1000) -> bytes | None:
    """Carry up to `pieces`; the batch if it was completed."""
    for _ in range(pieces):
        piece = outgoing.piece()
        received, whole = partials.add(piece)
        if outgoing.answered(Fragment(digest=piece.digest, received=received)):
            return None if whole is None else b"".join(whole.content().pieces)
    return None


def test_a_batch_arrives_whole() -> None:
    partials = Partials(len(BATCH))
    assert deliver(outgoing_of(BATCH), partials) == BATCH
    assert partials.held_bytes == 0


def test_a_lost_answer_repeats_a_piece_only() -> None:
    outgoing, partials = outgoing_of(BATCH), Partials(len(BATCH))
    deliver(outgoing, partials, 2)
    partials.add(outgoing.piece())  # arrived, but its answer was lost
    assert deliver(outgoing, partials, 2) == BATCH


def test_a_new_sender_resumes_where_the_receiver_stands() -> None:
    partials = Partials(len(BATCH))
    deliver(outgoing_of(BATCH), partials, 3)
    assert deliver(outgoing_of(BATCH), partials, 2) == BATCH


def test_a_receiver_that_restarted_gets_it_from_the_start() -> None:
    outgoing = outgoing_of(BATCH)
    deliver(outgoing, Partials(len(BATCH)), 2)
    assert deliver(outgoing, Partials(len(BATCH))) == BATCH


def test_memory_is_bounded() -> None:
    partials = Partials(len(BATCH) + 100)
    for number in range(10):
        other = BATCH[:-1] + bytes([number])
        deliver(outgoing_of(other), partials, 2)
        assert partials.held_bytes <= len(BATCH) + 100
    small = Partials(100 * len(BATCH))
    for number in range(10):
        deliver(outgoing_of(BATCH[:-1] + bytes([number])), small, 1)
    assert small.held_bytes <= PARTIAL_MAX * FRAGMENT_BYTES


def test_crumbs_are_gathered() -> None:
    data = os.urandom(3000)
    digest, partials = digest_of(Rope([data])), Partials(len(data))
    for offset in range(len(data)):
        piece = Fragment(digest=digest, size=len(data), offset=offset, data=data[offset:][:1])
        _, whole = partials.add(piece)
    assert whole is not None
    assert whole.content().pieces == [data]


@pytest.mark.parametrize("cuts", [[], [0, 4], [0, 1, 1, 3, 4], [0, 0, 2, 4, 4]])
def test_a_rope_reads_as_its_bytes(cuts: list[int]) -> None:
    content = b"abcd" if cuts else b""
    rope = Rope([content[start:end] for start, end in itertools.pairwise(cuts)])
    assert len(rope) == len(content)
    for start in range(6):
        for length in range(6):
            assert rope.read(start, length) == content[start : start + length]


def refused(piece: Fragment, partials: Partials | None = None) -> str:
    with pytest.raises(FragmentRefused) as caught:
        _, whole = (partials or Partials(1000)).add(piece)
        assert whole is not None
        whole.content()
    return caught.value.code


def test_what_fits_nowhere() -> None:
    name = b"d" * 16
    assert refused(Fragment(digest=name, size=1001, data=b"x")) == "too_large"
    assert refused(Fragment(digest=name, size=0)) == "malformed"
    assert refused(Fragment(digest=b"short", size=5, data=b"x")) == "malformed"
    assert refused(Fragment(digest=name, size=5, offset=4, data=b"xx")) == "malformed"
    assert refused(Fragment(digest=name, size=5, data=b"wrong")) == "malformed"
    partials = Partials(1000)
    partials.add(Fragment(digest=name, size=5, data=b"x"))
    assert refused(Fragment(digest=name, size=6, offset=1, data=b"x"), partials) == "malformed"


def test_a_gap_is_not_filled_with_nothing() -> None:
    partials = Partials(1000)
    assert partials.add(Fragment(digest=b"d" * 16, size=9, offset=5, data=b"xx")) == (0, None)
