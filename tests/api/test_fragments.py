from __future__ import annotations

import itertools
import os

import pytest

from raftdjango.node.fragments import (
    FRAGMENT_BYTES,
    PARTIAL_MAX,
    FragmentRefused,
    Outgoing,
    Partials,
)
from raftdjango.node.peer_pb2 import Fragment

BATCH = os.urandom(3 * FRAGMENT_BYTES + 17)
CUTS = (0, 3, 3, FRAGMENT_BYTES // 2, 2 * FRAGMENT_BYTES, 2 * FRAGMENT_BYTES + 1, None)


def outgoing_of(batch: bytes) -> Outgoing:
    """In chunks of any length, none of which ends with a piece."""
    return Outgoing([batch[start:end] for start, end in itertools.pairwise(CUTS)])


def deliver(outgoing: Outgoing, partials: Partials, pieces: int = 1000) -> bytes | None:
    """Carry up to `pieces`; the batch if it was completed."""
    for _ in range(pieces):
        piece = outgoing.piece()
        received, whole = partials.add(piece)
        if outgoing.answered(Fragment(digest=piece.digest, received=received)):
            return None if whole is None else bytes(whole.content())
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
