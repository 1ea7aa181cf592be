"""Which way an item goes: by lane or in an answer, now or a little later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from raftcore.codec import decode_message
from raftcore.messages import AppendEntries, AppendEntriesResponse, Heartbeat
from raftcore.types import Entry, EntryKind
from raftdjango.conf import Settings
from raftdjango.node.peers import links
from raftdjango.node.peers.batches import decode_batch, make_batch
from raftdjango.node.peers.calls import Peer
from raftdjango.node.peers.links import Link
from raftdjango.node.peers.peer_pb2 import ForwardAnswer, MemberFact, MemberFacts
from raftdjango.node.peers.port import Forward
from raftdjango.node.peers.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call, self.cancelled = due, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """A loop whose time is the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + delay, call))
        return self.timers[-1]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.due <= self.now and not timer.cancelled]
        self.timers = [timer for timer in self.timers if timer.due > self.now]
        for timer in due:
            timer.call()


class Wire:
    """A link whose lanes are not running, so that what went by lane can be looked at."""

    def __init__(self) -> None:
        settings = Settings(nodes={"n1": "http://h:1", "n2": "http://h:2"})
        peer = Peer("n2", "http://h:2", "/")
        owner: object = None
        self.loop = Loop()
        self.link = Link(settings, peer, Signer("g", "n1", ""), owner, on_dropped=print)  # type: ignore[arg-type]
        self.link._loop = self.loop  # type: ignore[assignment]

    def by_lane(self) -> list[object]:
        """What the lane would send next, if anything."""
        lane = self.link.entries
        taken, _ = lane.outbox.take(1 << 20)
        lane._carried = taken or lane._carried
        return list(taken)

    def lane_is_done(self) -> None:
        self.link.entries._carried = []

    def rode(self) -> list[object]:
        """The answer to a request of the peer."""
        batch = self.link.reply()
        return [*map(decode_message, batch.raft), *batch.forwards, *batch.answers]


def entries(index: int, data: bytes = b"x") -> AppendEntries:
    entry = Entry(index, 1, EntryKind.COMMAND, 0, data)
    return AppendEntries(1, "n1", index - 1, int(index > 1), (entry,), 0, 1)


def commit(index: int) -> AppendEntries:
    return AppendEntries(1, "n1", index, 1, (), index, 1)


def ack(index: int) -> AppendEntriesResponse:
    return AppendEntriesResponse(1, "n2", 1, True, index)


def test_without_a_request_to_answer_everything_goes_by_lane() -> None:
    wire = Wire()
    sent = [entries(1), ack(1), Forward(proposal_id=b"p")]
    for item in sent:
        wire.link.send(item)
    assert wire.by_lane() == sent


def test_answers_ride() -> None:
    wire = Wire()
    wire.link.open([], None, seal=str)
    answer = ForwardAnswer(proposal_id=b"p", result=ForwardAnswer.ACCEPTED)
    heartbeat = Heartbeat(1, "n1", 0, 1)
    wire.link.send(ack(1))
    wire.link.send(answer)
    wire.link.send(heartbeat)
    wire.link.send(Forward(proposal_id=b"q"))
    assert wire.rode() == [ack(1), heartbeat, answer]
    assert wire.by_lane() == [Forward(proposal_id=b"q")], "its loss must be reported: by lane"


def test_facts_go_with_the_heartbeats_and_the_latest_says_all() -> None:
    wire = Wire()
    told = [MemberFacts(term=3, last_index=n, members=[MemberFact(id="n2")]) for n in (1, 2)]
    for facts in told:
        wire.link.send(facts)
    assert wire.by_lane() == [], "entries do not wait for them"
    assert decode_batch(make_batch(wire.link.control.outbox.take(1 << 20)[0])) == told[1:]


def test_what_is_late_for_the_answer_goes_by_lane() -> None:
    wire = Wire()
    exchange = wire.link.open([], None, seal=str)
    assert wire.rode() == []
    wire.link.send(ack(1))
    assert not wire.by_lane()
    exchange.close()
    assert wire.by_lane() == [ack(1)]
    wire.link.send(ack(2))
    assert wire.by_lane() == [ack(2)]


def test_a_request_that_is_never_answered_holds_nothing_back() -> None:
    wire = Wire()
    exchange = wire.link.open([], None, seal=str)
    wire.link.send(ack(1))
    exchange.close()
    assert wire.by_lane() == [ack(1)]


def test_a_request_with_entries_is_answered_with_their_acknowledgement() -> None:
    async def scenario() -> None:
        wire = Wire()
        exchange = wire.link.open([entries(1)], None, seal=str)
        settled = asyncio.Event()
        exchange.when_settled(settled.set)
        await asyncio.sleep(0)
        assert not settled.is_set(), "not durable yet"
        wire.link.send(ack(1))
        async with asyncio.timeout(links.ACKNOWLEDGE_S / 2):
            await settled.wait()
        assert wire.rode() == [ack(1)]

    asyncio.run(scenario())


def test_no_answer_waits_long_for_a_slow_disk() -> None:
    async def scenario() -> None:
        wire = Wire()
        exchange = wire.link.open([entries(1)], None, seal=str)
        settled = asyncio.Event()
        exchange.when_settled(settled.set)
        await settled.wait()
        assert wire.rode() == []
        exchange.close()
        wire.link.send(ack(1))
        assert wire.by_lane() == [ack(1)]

    asyncio.run(scenario())


class TestEntries:
    def test_ride_while_the_lane_is_idle(self) -> None:
        wire = Wire()
        wire.link.open([], None, seal=str)
        wire.link.send(entries(1))
        assert wire.rode() == [entries(1)]

    def test_never_overtake_what_is_on_the_lane(self) -> None:
        wire = Wire()
        wire.link.send(entries(1))
        wire.link.open([], None, seal=str)
        wire.link.send(entries(2))
        assert wire.rode() == []
        assert wire.by_lane() == [entries(1), entries(2)], "still queued"
        wire.link.send(entries(3))
        assert wire.rode() == [], "or under way"
        wire.by_lane()
        wire.lane_is_done()
        wire.link.send(entries(4))
        assert wire.rode() == [entries(4)]

    def test_never_overtake_what_rode(self) -> None:
        wire = Wire()
        wire.link.open([], None, seal=str)
        wire.link.send(entries(1))
        wire.rode()
        wire.link.send(entries(2))
        wire.link.send(entries(3))
        assert not wire.by_lane()
        assert wire.rode() == []
        wire.link.heard([ack(1)])
        assert wire.by_lane() == [entries(2), entries(3)]

    def test_wait_for_no_answer_that_was_lost(self) -> None:
        wire = Wire()
        wire.link.open([], None, seal=str)
        wire.link.send(entries(1))
        wire.rode()
        wire.link.send(entries(2))
        wire.loop.pass_time(links.DETOUR_S)
        assert wire.by_lane() == [entries(2)]

    def test_too_many_for_one_answer_follow_in_order(self) -> None:
        wire = Wire()
        wire.link.open([], None, seal=str)
        large = entries(2, bytes(links.RIDE_BYTES))
        for item in (entries(1), large, entries(3)):
            wire.link.send(item)
        assert wire.rode() == [entries(1)]
        wire.link.heard([ack(1)])
        assert wire.by_lane() == [large, entries(3)]


class TestCommitIndex:
    def test_goes_at_once_where_workers_of_the_peer_wait_for_it(self) -> None:
        wire = Wire()
        wire.link.heard([Forward(proposal_id=b"p")])
        wire.link.send(commit(1))
        assert wire.by_lane() == [commit(1)]

    def test_waits_for_company_where_nobody_waits_for_it(self) -> None:
        wire = Wire()
        wire.link.send(commit(1))
        wire.loop.pass_time(links.HOLD_S)
        assert not wire.by_lane()
        wire.loop.pass_time(links.HOLD_IDLE_S)
        assert wire.by_lane() == [commit(1)]

    def test_waits_for_the_acknowledgement_and_rides_in_its_answer(self) -> None:
        wire = Wire()
        wire.link.heard([Forward(proposal_id=b"p")])
        wire.link.send(entries(1))
        wire.by_lane()
        wire.lane_is_done()
        wire.link.send(commit(1))
        assert not wire.by_lane()
        wire.link.open([], None, seal=str)
        wire.link.heard([ack(1)])
        assert wire.rode() == [commit(1)]
        wire.loop.pass_time(links.HOLD_S)
        assert not wire.by_lane(), "once is enough"

    def test_the_newest_replaces_the_one_that_waits(self) -> None:
        wire = Wire()
        wire.link.send(entries(3))
        wire.by_lane()
        wire.link.send(commit(1))
        wire.link.send(commit(2))
        wire.loop.pass_time(links.HOLD_IDLE_S)
        assert wire.by_lane() == [commit(2)]

    def test_entries_say_it_too(self) -> None:
        wire = Wire()
        wire.link.send(entries(1))
        wire.link.send(commit(1))
        wire.link.send(entries(2))
        wire.loop.pass_time(links.HOLD_IDLE_S)
        assert wire.by_lane() == [entries(1), entries(2)]

    def test_a_refused_append_owes_nothing(self) -> None:
        wire = Wire()
        wire.link.heard([Forward(proposal_id=b"p")])
        wire.link.send(entries(9))
        wire.by_lane()
        wire.link.heard([AppendEntriesResponse(1, "n2", 1, False, 0, 8, 1, 1)])
        wire.link.send(commit(1))
        assert wire.by_lane() == [commit(1)]


def test_a_full_outbox_drops_the_oldest_and_says_so() -> None:
    dropped: list[object] = []
    wire = Wire()
    wire.link._on_dropped = lambda to, items: dropped.extend(items)
    wire.link.entries.outbox._bytes_max = 10_000
    for index in range(1, 5):
        wire.link.send(entries(index, bytes(4000)))
    assert [item.entries[0].index for item in dropped] == [1, 2]
    huge = entries(5, bytes(20_000))
    wire.link.send(huge)
    assert wire.by_lane() == [huge], "one item always fits"
