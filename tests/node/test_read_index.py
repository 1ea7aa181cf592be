"""Reads by the core's read index: asked again until the deadline, never by an entry without need."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from raftcore.effects import ReadReady, ReadRefused
from raftcore.messages import ReadIndex, ReadIndexResponse
from raftdjango.exceptions import ClusterUnavailable
from raftdjango.node.consensus.reads import DEAF_S, IndexReads
from raftdjango.node.limits import REFRESHES_MAX
from raftdjango.node.peers.batches import decode_batch, decode_large, encode_batch, encode_large
from raftdjango.node.peers.links import CONTROL
from raftdjango.node.peers.peer_pb2 import Batch
from raftdjango.node.rope import Rope
from raftdjango.node.writes.proposals import Reason, Refusal
from tests.node.nodes import GROUP, PATIENCE_S, Cluster, make_table, wait_until
from tests.node.test_cluster import followers, write


class Ground:
    """A group whose core does as the test says."""

    def __init__(self) -> None:
        self.node_id = "me"
        self.leader: str | None = "n1"
        self.term = 1
        self.applied_index = self.commit_index = 0
        self.time = 100.0
        self.last_id = 0
        self.asked: list[int] = []
        self.entries: list[Any] = []
        """Who waits for an entry."""
        self.holder = ""
        self.reads = IndexReads(self, self, now=lambda: self.time, held_up=lambda: self.holder)
        self.reads.open()

    def read_index(self) -> int:
        self.last_id += 1
        self.asked.append(self.last_id)
        return self.last_id

    def refresh(self, *, deadline: float, refreshed: Any) -> None:
        """As `BarrierReads`."""
        self.entries.append(refreshed)

    def ask(self, timeout_s: float = 10.0, **how: Any) -> list[Any]:
        got: list[Any] = []
        self.reads.refresh(deadline=self.time + timeout_s, refreshed=got.append, **how)
        return got

    def ready(self, index: int) -> None:
        """All that is asked is answered."""
        asked, self.asked = self.asked, []
        self.reads.on_outcomes([ReadReady(number, index) for number in asked])

    def refuse(self, reason: Any) -> None:
        asked, self.asked = self.asked, []
        self.reads.on_outcomes([ReadRefused(number, reason) for number in asked])

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        self.reads.sweep()

    def lead(self, leader: str | None, term: int) -> None:
        self.leader, self.term = leader, term
        self.reads.on_leader()


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_each_asks_for_itself_and_is_told_how_far_the_database_is(ground):
    first, second = ground.ask(), ground.ask()
    assert len(ground.asked) == 2
    assert (first, second) == ([], [])
    ground.applied_index = 7
    ground.ready(5)
    assert (first, second) == ([7], [7])
    assert len(ground.reads) == 0


@pytest.mark.parametrize("reason", ["no leader", "leader lost", "no answer"])
def test_what_is_refused_is_asked_again_at_the_next_sweep(ground, reason):
    got = ground.ask()
    ground.refuse(reason)
    assert (got, ground.asked) == ([], [])
    ground.pass_time(0.05)
    ground.ready(3)
    assert got == [3]


def test_without_a_leader_nobody_is_asked_until_there_is_one(ground):
    ground.lead(None, 2)
    got = ground.ask()
    ground.pass_time(0.05)
    assert ground.asked == []
    ground.lead("n2", 2)
    assert len(ground.asked) == 1
    ground.ready(9)
    assert got == [9]


def test_before_the_cluster_has_formed_nobody_is_asked(ground):
    reads = ground.reads = IndexReads(ground, ground, now=lambda: ground.time)
    got = ground.ask()
    ground.pass_time(0.05)
    assert ground.asked == []
    reads.open()
    ground.ready(1)
    assert got == [1]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({}, "the leader, n1, did not answer"),
        ({"leader": None}, "no leader is known"),
        ({"leader": "me"}, "no majority of the others has confirmed"),
        ({"commit_index": 3}, "3 committed entries are not applied"),
        ({"holder": "process 7"}, "write lock is held by process 7"),
    ],
)
def test_at_the_deadline_it_says_what_is_missing(ground, state, why):
    got = ground.ask(timeout_s=1.0)
    for name, value in state.items():
        setattr(ground, name, value)
    ground.pass_time(0.9)
    assert got == []
    ground.pass_time(0.2)
    assert got[0].reason is Reason.UNAVAILABLE
    assert got[0].message.startswith("Node me could not be brought up to date in time")
    assert why in got[0].message
    ground.ready(5)
    assert len(got) == 1, "an outcome that comes later is nobody's"


def test_at_the_deadline_of_one_that_waits_to_ask_again(ground):
    got = ground.ask(timeout_s=1.0)
    ground.lead(None, 2)
    ground.refuse("leader lost")
    ground.pass_time(1.1)
    assert "no leader is known" in got[0].message
    assert len(ground.reads) == 0


def test_a_node_that_stops_refuses_all(ground):
    refusal = Refusal(Reason.STOPPING, "bye")
    asked = ground.ask()
    ground.lead(None, 2)
    parked = ground.ask()
    ground.reads.close(refusal)
    assert asked == parked == ground.ask() == [refusal]


def test_too_many_are_busy(ground):
    for _ in range(REFRESHES_MAX):
        ground.ask()
    assert ground.ask()[0].reason is Reason.BUSY
    ground.ready(1)
    assert ground.ask() == []
    ground.refuse("busy")
    assert len(ground.reads) == 0


def test_one_that_cannot_be_told_is_nobody_elses_trouble(ground, caplog):
    ground.reads.refresh(deadline=ground.time + 1, refreshed=lambda end: 1 / 0)
    got = ground.ask()
    ground.ready(2)
    assert got == [2]
    assert "could not be told" in caplog.text


class TestLeaderOfAnEarlierRelease:
    """It does not know the question, and does not answer: an entry says the same."""

    def deafen(self, ground: Ground) -> list[Any]:
        got, other = ground.ask(), ground.ask()
        ground.refuse("no answer")
        ground.pass_time(0.05)
        assert len(ground.asked) == 2, "it may have been lost: many that share a question are one"
        ground.refuse("no answer")
        ground.pass_time(0.05)
        assert ground.asked == got == other == []
        return got

    def test_it_is_asked_by_an_entry(self, ground):
        got = self.deafen(ground)
        assert len(ground.entries) == 2
        ground.entries[0](4)
        assert got == [4]
        ground.ask()
        assert len(ground.entries) == 3

    def test_another_leader_is_asked_in_the_usual_way(self, ground):
        self.deafen(ground)
        ground.lead("n2", 2)
        ground.ask()
        assert len(ground.asked) == 1

    def test_after_a_while_it_is_asked_again(self, ground):
        self.deafen(ground)
        ground.pass_time(DEAF_S)
        ground.ask()
        assert len(ground.asked) == 1

    def test_an_answer_in_between_makes_it_one_that_understands(self, ground):
        ground.ask()
        ground.refuse("no answer")
        ground.pass_time(0.05)
        ground.ready(1)
        ground.ask()
        ground.refuse("no answer")
        ground.pass_time(0.05)
        assert len(ground.asked) == 1


def test_who_wants_an_entry_gets_one(ground):
    ground.ask(by_entry=True)
    assert (ground.asked, len(ground.entries)) == ([], 1)


# -- between peers ---------------------------------------------------------------------------------

QUESTION = ReadIndex(term=3, follower="n2", request=5)
ANSWER = ReadIndexResponse(term=3, leader="n1", request=5, granted=True, index=9)


def test_the_messages_travel_in_both_forms_of_batches_on_the_lane_of_heartbeats():
    items = [QUESTION, ANSWER]
    assert decode_batch(Batch.FromString(encode_batch(items))) == items
    assert decode_large(Rope(encode_large(items))) == items
    assert all(isinstance(item, CONTROL) for item in items)


def test_a_peer_of_an_earlier_release_sees_nothing_of_them():
    """It refuses a batch with a core message that it does not know, and passes over other fields."""
    batch = Batch.FromString(encode_batch([QUESTION, ANSWER]))
    batch.ClearField("later")
    assert batch == Batch()


# -- three nodes -----------------------------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        cluster.start()
        cluster.leader()
        cluster.version = make_table(cluster.client("n1"))
        for node in cluster.nodes.values():
            wait_until(lambda node=node: node.groups[GROUP].formation.is_complete, "completion")
        cluster.level()
        yield cluster


def test_a_refresh_shows_what_was_committed_elsewhere_and_writes_nothing(cluster):
    reader, writer = followers(cluster)[0], cluster.client(cluster.leader())
    client = cluster.client(reader)
    for key in range(1, 20):
        written = write(cluster, writer, key)
        assert client.refresh(timeout_s=PATIENCE_S) == written.log_index
        assert len(cluster.rows(reader)) == key
    for name in cluster.names:
        assert cluster.client(name).refresh(timeout_s=PATIENCE_S) == written.log_index
    assert cluster.status(cluster.leader())["last_index"] == written.log_index


def test_a_leader_that_was_cut_off_says_nothing_before_it_has_heard_of_what_others_wrote(cluster):
    cut = cluster.leader()
    client, rest = cluster.client(cut), [name for name in cluster.names if name != cut]
    cluster.network.isolated.add(cut)
    cluster.leader(among=rest)
    write(cluster, cluster.client(rest[0]), 1)
    with pytest.raises(ClusterUnavailable, match="could not be brought up to date"):
        client.refresh(timeout_s=0.2)
    assert cluster.rows(cut) == []
    cluster.network.isolated.clear()
    client.refresh(timeout_s=PATIENCE_S)
    assert cluster.rows(cut) == [(1, "note 1")]


def test_reads_that_wait_are_told_of_in_the_status(cluster):
    alone = followers(cluster)[0]
    for name in [name for name in cluster.names if name != alone]:
        cluster.crash(name)
    client = cluster.client(alone)

    def ask() -> None:
        with pytest.raises(ClusterUnavailable):
            client.refresh(timeout_s=2)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: cluster.status(alone)["queues"]["reads"] == 1, "the read to wait")
    asking.join(PATIENCE_S)
    assert cluster.status(alone)["queues"]["reads"] == 0


def test_a_refresh_outlives_the_loss_of_the_leader(cluster):
    lost = cluster.leader()
    client = cluster.client(followers(cluster)[0])
    cluster.crash(lost)
    assert client.refresh(timeout_s=PATIENCE_S)


def test_a_leader_that_does_not_understand_is_asked_by_an_entry(cluster):
    leader, reader = cluster.leader(), followers(cluster)[0]
    group = cluster.nodes[leader].groups[GROUP]
    receive = group.consensus.receive
    group.consensus.receive = lambda message: (
        None if isinstance(message, ReadIndex) else receive(message)
    )
    before = cluster.status(leader)["last_index"]
    assert cluster.client(reader).refresh(timeout_s=PATIENCE_S) == before + 1
