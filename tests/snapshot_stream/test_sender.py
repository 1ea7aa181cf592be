"""What is sent when, how fast, and when it is given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftcore.snapshot_stream import Receipt, SnapshotSender, Verdict, Wanted
from tests.snapshot_stream.ends import CONTENT, Receiving, Sending, message

WHAT = message()


def said(verdict: Verdict, offset: int = 0) -> Receipt:
    return Receipt("n2", WHAT.term, WHAT.session, WHAT.meta.index, verdict, offset)


@pytest.fixture
def sender() -> SnapshotSender:
    return Sending().sender


def test_it_asks_first_and_goes_on_from_what_there_is(sender: SnapshotSender) -> None:
    assert sender.next(0) == Wanted(0, 0)
    sender.answered(said(Verdict.MORE, 430), 0)
    assert sender.next(0) == Wanted(430, 100)
    assert sender.progress == (430, 1000)


def test_one_chunk_is_on_its_way_at_a_time(sender: SnapshotSender) -> None:
    assert sender.next_timer() == 0
    assert sender.next(0) == Wanted(0, 0)
    assert sender.next(0) is None
    assert sender.next_timer() is None
    sender.answered(said(Verdict.MORE, 0), 5)
    assert sender.next_timer() == 0
    assert sender.next(5) == Wanted(0, 100)


def test_the_last_chunk_is_what_is_left(sender: SnapshotSender) -> None:
    sender.next(0)
    sender.answered(said(Verdict.MORE, 950), 0)
    assert sender.next(0) == Wanted(950, 50)
    assert sender.ok is None
    sender.answered(said(Verdict.DONE, 1000), 0)
    assert sender.ok is True
    assert sender.progress == (1000, 1000)
    assert sender.next(0) is None
    assert sender.next_timer() is None


def test_a_whole_snapshot_takes_a_chunk_for_each_of_its_parts() -> None:
    sending, receiving = Sending(), Receiving()
    chunks = 0
    while (chunk := sending.next(0)) is not None:
        chunks += 1
        sending.answered(receiving.receive(chunk), 0)
    assert sending.sender.ok
    assert chunks == 11
    assert receiving.content(WHAT) == CONTENT


def test_no_more_than_so_many_bytes_a_second() -> None:
    sending, receiving = Sending(bytes_per_s=300, now_ms=7), Receiving()
    now_ms, sent = 7, []
    while (timer := sending.sender.next_timer()) is not None:
        assert sending.next(timer - 1) is None
        now_ms = max(now_ms, timer)
        chunk = sending.next(now_ms)
        assert chunk is not None
        sent.append((now_ms, len(chunk.data)))
        sending.answered(receiving.receive(chunk), now_ms)
    assert sending.sender.ok
    assert now_ms >= 7 + 900 * 1000 // 300
    for position, (first, _) in enumerate(sent):
        for stop, (last, _) in enumerate(sent[position:], position):
            # One chunk may be ahead of its time.
            assert sum(size for _, size in sent[position:stop]) * 1000 <= 300 * (last - first)


def test_what_was_lost_is_asked_for_after_a_pause(sender: SnapshotSender) -> None:
    sender.next(0)
    sender.answered(said(Verdict.MORE, 200), 0)
    sender.next(10)
    sender.lost(400)
    assert sender.next_timer() == 1400
    assert sender.next(1399) is None
    assert sender.next(1400) == Wanted(0, 0)
    sender.answered(said(Verdict.MORE, 300), 1410)
    assert sender.next(1410) == Wanted(300, 100)


@pytest.mark.parametrize(
    "other",
    [{"term": WHAT.term - 1}, {"session": WHAT.session + 1}, {"index": WHAT.meta.index - 1}],
)
def test_an_answer_to_another_transfer_is_not_the_one_awaited(
    sender: SnapshotSender, other: dict[str, int]
) -> None:
    """Whoever awaits an answer by a clock has to go on, or he waits for ever."""
    sender.next(0)
    assert not sender.answered(replace(said(Verdict.BUSY), **other), 0)
    assert sender.next(0) is None
    assert sender.answered(said(Verdict.MORE, 100), 0)
    assert sender.next(0) == Wanted(100, 100)


@pytest.mark.parametrize("verdict", [Verdict.BUSY, Verdict.MORE])
def test_it_gives_up_when_nothing_helps(sender: SnapshotSender, verdict: Verdict) -> None:
    now_ms = 0
    sender.next(now_ms)
    sender.answered(said(Verdict.MORE, 500), now_ms)
    for attempt in range(5):
        assert sender.ok is None, attempt
        now_ms = sender.next_timer() or now_ms
        if sender.next(now_ms) == Wanted(0, 0) and verdict is Verdict.MORE:
            sender.answered(said(Verdict.MORE, 500), now_ms)
            sender.next(now_ms)
        sender.answered(said(verdict, 500), now_ms)
    assert sender.ok is False


def test_losses_are_counted_only_in_a_row(sender: SnapshotSender) -> None:
    now_ms, offset = 0, 0
    for _ in range(4):
        for _ in range(4):
            now_ms = sender.next_timer() or 0
            sender.next(now_ms)
            sender.lost(now_ms)
        now_ms = sender.next_timer() or 0
        assert sender.next(now_ms) == Wanted(0, 0)
        sender.answered(said(Verdict.MORE, offset), now_ms)
        sender.next(now_ms)
        offset += 100
        sender.answered(said(Verdict.MORE, offset), now_ms)
    assert sender.ok is None
    for _ in range(5):
        sender.next(sender.next_timer() or 0)
        sender.lost(now_ms)
    assert sender.ok is False
    sender.lost(now_ms)
    assert sender.next(10 * now_ms) is None


def test_a_receiver_that_has_lost_what_it_had_is_sent_it_again(sender: SnapshotSender) -> None:
    sender.next(0)
    sender.answered(said(Verdict.MORE, 800), 0)
    sender.next(0)
    sender.lost(0)
    sender.next(1000)
    sender.answered(said(Verdict.MORE, 0), 1000)
    for offset in range(0, 900, 100):
        assert sender.next(1000) == Wanted(offset, 100)
        sender.answered(said(Verdict.MORE, offset + 100), 1000)
    assert sender.ok is None


@pytest.mark.parametrize(
    "answer",
    [
        said(Verdict.REFUSED),
        said(Verdict.FAILED),
        said(Verdict.MORE, 1000),
        said(Verdict.MORE, 1001),
    ],
)
def test_what_cannot_go_on_is_over(sender: SnapshotSender, answer: Receipt) -> None:
    sender.next(0)
    sender.answered(answer, 0)
    assert sender.ok is False
    sender.answered(said(Verdict.DONE, 1000), 0)
    assert sender.ok is False


def test_it_can_be_given_up(sender: SnapshotSender) -> None:
    sender.next(0)
    sender.give_up()
    assert sender.ok is False
    done = Sending().sender
    done.next(0)
    done.answered(said(Verdict.DONE, 1000), 0)
    done.give_up()
    assert done.ok is True


@pytest.mark.parametrize(("term", "session", "index"), [(4, 1, 50), (5, 2, 50), (5, 1, 49)])
def test_receipts_for_something_else_are_dropped(sender, term, session, index) -> None:
    sender.next(0)
    sender.answered(Receipt("n2", term, session, index, Verdict.DONE, 1000), 0)
    assert sender.ok is None
    assert sender.next(0) is None


def test_other_data_than_was_wanted_is_refused(sender: SnapshotSender) -> None:
    with pytest.raises(ValueError, match="99 bytes instead of 100"):
        sender.chunk(Wanted(0, 100), bytes(99))


@pytest.mark.parametrize("wrong", [{"chunk_bytes": 0}, {"bytes_per_s": 0}, {"attempts_max": 0}])
def test_bounds_are_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Sending(**wrong)
