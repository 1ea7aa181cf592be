"""What comes in is taken in order, whole, and one at a time."""

from __future__ import annotations

import pytest

from raftcore.snapshot_stream import Receipt, Verdict
from raftcore.storage import SnapshotMissing
from tests.snapshot_stream.ends import CONTENT, Receiving, chunk, message

WHAT = message()


def receipt(verdict: Verdict, offset: int = 0, of=WHAT) -> Receipt:
    return Receipt("n2", of.term, of.session, of.meta.index, verdict, offset)


@pytest.fixture
def end() -> Receiving:
    return Receiving()


def fill(end: Receiving, stop: int, of=WHAT, content: bytes = CONTENT) -> None:
    """All up to `stop` comes in, in order."""
    for offset in range(0, stop, 100):
        end.receive(chunk(of, offset, content[offset : offset + 100], content))


def test_chunks_in_order_make_a_snapshot(end: Receiving) -> None:
    assert end.receive(chunk(WHAT, 0, b"")) == receipt(Verdict.MORE, 0)
    assert end.receive(chunk(WHAT, 0, CONTENT[:300])) == receipt(Verdict.MORE, 300)
    assert end.arrived == []
    assert end.receive(chunk(WHAT, 300, CONTENT[300:])) == receipt(Verdict.DONE, 1000)
    assert end.arrived == [WHAT]
    assert end.content(WHAT) == CONTENT
    assert end.receiver.offset is None


@pytest.mark.parametrize(("offset", "stop"), [(300, 400), (0, 100), (100, 300), (150, 250)])
def test_gaps_and_overlaps_are_not_taken(end: Receiving, offset: int, stop: int) -> None:
    fill(end, 200)
    answer = end.receive(chunk(WHAT, offset, CONTENT[offset:stop]))
    assert answer == receipt(Verdict.MORE, 200)
    assert end.receiver.offset == 200
    end.receive(chunk(WHAT, 200, CONTENT[200:]))
    assert end.content(WHAT) == CONTENT


def test_what_does_not_come_to_its_digest_is_thrown_away(end: Receiving) -> None:
    fill(end, 900)
    answer = end.receive(chunk(WHAT, 900, bytes(100)))
    assert answer.verdict is Verdict.FAILED
    assert end.writer is None
    assert end.arrived == []
    with pytest.raises(SnapshotMissing):
        end.content(WHAT)
    fill(end, 1000)
    assert end.content(WHAT) == CONTENT


def test_nor_is_one_of_a_single_chunk_begun(end: Receiving) -> None:
    assert end.receive(chunk(WHAT, 0, bytes(1000))).verdict is Verdict.FAILED
    assert end.writer is None
    assert end.receiver.offset is None


def test_a_snapshot_of_nothing_needs_no_data(end: Receiving) -> None:
    empty = message(b"")
    answer = end.receive(chunk(empty, 0, b"", b""))
    assert answer == receipt(Verdict.DONE, 0, empty)
    assert end.content(empty) == b""


def test_a_chunk_of_what_is_whole_already_is_answered_again(end: Receiving) -> None:
    fill(end, 1000)
    assert end.receive(chunk(WHAT, 900, CONTENT[900:])) == receipt(Verdict.DONE, 1000)
    later = message(session=2)
    assert end.receive(chunk(later, 0, b"")) == receipt(Verdict.DONE, 1000, later)
    # The core has to hear of the later one too: its answer goes to that session.
    assert end.arrived == [WHAT, WHAT, later]


def test_unless_the_store_has_not_got_it_any_more(end: Receiving) -> None:
    fill(end, 1000)
    assert end.receiver.failed(chunk(WHAT, 0, b"")) == receipt(Verdict.FAILED)
    assert end.receive(chunk(WHAT, 0, b"")) == receipt(Verdict.MORE, 0)


def test_what_is_committed_here_needs_no_snapshot(end: Receiving) -> None:
    fill(end, 300)
    end.commit_index = 50
    assert end.receive(chunk(WHAT, 300, CONTENT[300:400])) == receipt(Verdict.DONE, 1000)
    assert end.writer is None
    assert end.arrived == [WHAT]
    assert end.receiver.offset is None


def test_what_is_not_needed_any_more_can_be_forgotten(end: Receiving) -> None:
    assert not end.receiver.forget_if_covered(99)
    fill(end, 300)
    assert not end.receiver.forget_if_covered(49)
    assert end.receiver.forget_if_covered(50)
    assert end.receiver.offset is None


def test_one_that_is_too_large_is_refused(end: Receiving) -> None:
    end = Receiving(size_max=999)
    assert end.receive(chunk(WHAT, 0, b"")).verdict is Verdict.REFUSED
    assert end.writer is None
    fine = message(CONTENT[:999])
    assert end.receive(chunk(fine, 0, b"", CONTENT[:999])).verdict is Verdict.MORE


OTHER = b"other" * 100


@pytest.mark.parametrize(
    "other",
    [
        message(OTHER, index=51),
        message(OTHER, term=6),
        message(OTHER, term=6, index=40),
        message(OTHER, session=2),
    ],
    ids=["newer", "later leader", "older of a later leader", "begun anew"],
)
def test_one_that_ranks_higher_takes_the_place_of_an_unfinished_one(end, other) -> None:
    fill(end, 300)
    assert end.receive(chunk(other, 0, b"", OTHER)) == receipt(Verdict.MORE, 0, other)
    # The one before it has had its time.
    assert end.receive(chunk(WHAT, 300, CONTENT[300:400])) == receipt(Verdict.BUSY)
    fill(end, 500, other, OTHER)
    assert end.content(other) == OTHER
    assert end.arrived == [other]


@pytest.mark.parametrize(
    "other", [message(OTHER, index=49), message(OTHER, term=4, index=60), message(OTHER)]
)
def test_any_other_waits_until_there_was_silence_for_long(end: Receiving, other) -> None:
    fill(end, 300)
    assert end.receive(chunk(other, 0, b"", OTHER), 9_999) == receipt(Verdict.BUSY, 0, other)
    assert end.receiver.offset == 300
    assert end.receive(chunk(other, 0, b"", OTHER), 10_000).verdict is Verdict.MORE
    assert end.receiver.offset == 0


def test_another_leader_goes_on_with_the_same_one(end: Receiving) -> None:
    fill(end, 300)
    later = message(term=9)
    assert end.receive(chunk(later, 0, b"")) == receipt(Verdict.MORE, 300, later)
    # What the earlier one still sends is as good.
    assert end.receive(chunk(WHAT, 300, CONTENT[300:400])) == receipt(Verdict.MORE, 400)
    end.receive(chunk(later, 400, CONTENT[400:]))
    assert end.arrived == [later]


def test_what_arrives_is_told_by_the_latest_message(end: Receiving) -> None:
    later = message(term=9)
    end.receive(chunk(later, 0, b""))
    fill(end, 1000)
    assert end.arrived == [later]


def test_the_same_entry_in_other_bytes_is_another_snapshot(end: Receiving) -> None:
    fill(end, 300)
    other = CONTENT[:300] + bytes(700)
    assert end.receive(chunk(WHAT, 300, other[300:], other)) == receipt(Verdict.BUSY)
    assert end.receiver.offset == 300


def test_a_store_that_fails_is_told_and_it_begins_anew(end: Receiving) -> None:
    fill(end, 300)
    end.full = True
    assert end.receive(chunk(WHAT, 300, CONTENT[300:400])) == receipt(Verdict.FAILED)
    end.full = False
    assert end.receive(chunk(WHAT, 0, b"")) == receipt(Verdict.MORE, 0)
    fill(end, 1000)
    assert end.content(WHAT) == CONTENT
