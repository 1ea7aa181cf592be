"""Exclusive turns between nodes that are objects in a list: who has one, who is held back, who is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from raftcore.types import Role
from raftdjango.node.peers.peer_pb2 import ForwardAnswer, Turn
from raftdjango.node.peers.port import Forward
from raftdjango.node.writes import forwards as forwards_module
from raftdjango.node.writes import turn_queue, turns
from raftdjango.node.writes.forwards import Forwards
from raftdjango.node.writes.intake import Placement, Refused
from raftdjango.node.writes.proposals import Reason, Refusal
from raftdjango.node.writes.turns import Turns
from raftdjango.writeset import (
    Barrier,
    BlindDelete,
    Command,
    KeyLease,
    Table,
    WriteSet,
    encode_command,
)

NOTES = Table("note", ("id", "text"), (0,))
WRITE = encode_command(Command(b"w", 0, WriteSet(1, (BlindDelete(NOTES, ((1,),)),))))


class World:
    """Nodes by name, the time, and the messages that are on their way."""

    def __init__(self) -> None:
        self.time = 100.0
        self.nodes: dict[str, Node] = {}
        self.mail: list[tuple[str, str, Any]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def deliver(self) -> None:
        """Carry messages until there are none."""
        while self.mail:
            sender, to, item = self.mail.pop(0)
            self.nodes[to].receive(sender, item)

    def pass_time(self, seconds: float, *silent: str) -> None:
        """Time passes; nodes sweep as often as real ones do, and all but the silent ones are heard."""
        end = self.time + seconds
        while self.time < end:
            self.time += 0.05
            for due, callback in [timer for timer in self.timers if timer[0] <= self.time]:
                self.timers.remove((due, callback))
                callback()
            for node in self.nodes.values():
                node.turns.sweep()
            self.mail = [mail for mail in self.mail if mail[0] not in silent]
            self.deliver()


class Log:
    last_index = 0


class Node:
    """What a node's turns stand on; its own `proposals` and `transport`."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.node_id = name
        self.leader: str | None = "n1"
        self.role = Role.LEADER if name == "n1" else Role.FOLLOWER
        self.stopping = False
        self.applied_index = 0
        self.core: Any = Log()
        self.transport: Any = self
        self.proposals: Any = self
        self.appended: list[bytes] = []
        self.answers: list[ForwardAnswer] = []
        self.told: dict[bytes, Refusal | None] = {}
        self.placed_unsent = 0
        self.turns = Turns(self, call_later=self.call_later)
        self.forwards = Forwards(self)
        world.nodes[name] = self

    def now(self) -> float:
        return self.world.time

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.world.timers.append((self.world.time + delay_s, callback))

    def send(self, to: str, item: Any) -> None:
        self.world.mail.append((self.node_id, to, item))

    def receive(self, sender: str, item: Any) -> None:
        if isinstance(item, Turn):
            self.turns.on_turn(sender, item)
        elif isinstance(item, Forward):
            self.forwards.take(sender, item)
        else:
            self.answers.append(item)

    def append(self, proposal_id: bytes, command: bytes) -> Placement:
        if self.role is not Role.LEADER:
            return Refused.NOT_LEADER
        if self.turns.queue.holds_back(proposal_id, command):
            return Refused.HELD
        self.appended.append(proposal_id)
        self.core.last_index += 1
        self.turns.queue.appended(proposal_id)
        return self.core.last_index, 1

    def place_unsent(self) -> None:
        self.placed_unsent += 1

    def take(self, token: bytes, timeout_s: float = 10.0, longest_s: float = 0) -> None:
        """A worker of this node wants a turn; what it is told is in `told`."""

        def told(end: Refusal | None) -> None:
            assert token not in self.told, "told twice"
            self.told[token] = end

        deadline = self.world.time + timeout_s
        self.turns.take(token, deadline=deadline, told=told, longest_s=longest_s)
        self.world.deliver()

    def forward(self, proposal_id: bytes, command: bytes = WRITE) -> None:
        """A worker of this node writes."""
        self.send("n1", Forward(proposal_id, command))
        self.world.deliver()

    def apply(self, index: int) -> None:
        self.applied_index = index
        self.turns.on_applied()
        self.world.deliver()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def nodes(world: World) -> Iterator[list[Node]]:
    yield [Node(world, name) for name in ("n1", "n2", "n3")]
    assert not world.mail


def test_the_holder_waits_until_it_sees_all_that_came_before(world: World, nodes) -> None:
    leader, follower, _ = nodes
    leader.core.last_index = 7
    follower.take(b"t")
    follower.apply(6)
    assert follower.told == {}
    follower.apply(7)
    assert follower.told == {b"t": None}


def test_meanwhile_other_nodes_writes_are_held_back_and_then_go_on_in_their_order(
    world: World, nodes
) -> None:
    leader, follower, other = nodes
    follower.take(b"t")
    other.forward(b"one")
    other.forward(b"two")
    assert leader.append(b"own", WRITE) is Refused.HELD
    assert leader.appended == []
    assert other.answers == []
    follower.forward(b"t")
    assert leader.appended == [b"t", b"one", b"two"]
    assert [answer.index for answer in other.answers] == [2, 3]
    assert leader.placed_unsent == 1


@pytest.mark.parametrize("body", [Barrier(), KeyLease("note", 16)])
def test_what_changes_no_rows_goes_on(nodes, body) -> None:
    leader, follower, other = nodes
    follower.take(b"t")
    other.forward(b"lease", encode_command(Command(b"lease", 0, body)))
    assert leader.appended == [b"lease"]


def test_what_cannot_be_read_counts_as_a_write() -> None:
    assert turn_queue.is_write_set(b"\xff\xff")
    assert turn_queue.is_write_set(b"x" * 5000)
    assert turn_queue.is_write_set(WRITE)


def test_one_at_a_time_in_the_order_in_which_they_came(world: World, nodes) -> None:
    leader, follower, other = nodes
    follower.take(b"first")
    leader.take(b"second")
    other.take(b"third")
    assert (follower.told, leader.told, other.told) == ({b"first": None}, {}, {})
    follower.forward(b"first")
    world.pass_time(0.05)
    leader.apply(1)
    assert (leader.told, other.told) == ({b"second": None}, {})
    leader.turns.end(b"second")
    world.pass_time(0.05)
    other.apply(1)
    assert other.told == {b"third": None}
    assert leader.turns.queue.granted == 3


def test_after_a_turn_the_others_have_as_long_for_themselves(world: World, nodes) -> None:
    leader, follower, other = nodes
    follower.take(b"first")
    other.take(b"second")
    world.pass_time(1.0)
    follower.turns.end(b"first")
    world.deliver()
    follower.forward(b"small")
    world.pass_time(0.8)
    assert leader.appended == [b"small"]
    assert other.told == {}
    world.pass_time(0.4)
    other.apply(1)
    assert other.told == {b"second": None}


def test_a_turn_that_is_given_back_unused_lets_the_others_go_on(world: World, nodes) -> None:
    leader, follower, other = nodes
    follower.take(b"t")
    other.forward(b"write")
    follower.turns.end(b"t")
    world.deliver()
    assert leader.appended == [b"write"]
    assert [len(node.turns) for node in nodes] == [0, 0, 0]


def test_a_turn_has_an_end_however_busy_its_holder_is(world: World, nodes) -> None:
    leader, follower, other = nodes
    follower.take(b"t")
    other.forward(b"write")
    world.pass_time(turn_queue.TURN_S_MAX - 0.1)
    assert leader.appended == []
    world.pass_time(0.2)
    assert leader.appended == [b"write"]
    assert leader.turns.queue.timed_out == 1
    follower.forward(b"t")
    assert leader.appended == [b"write", b"t"], "too late for the turn, not for the log"


@pytest.mark.parametrize(
    ("asked_s", "lasts_s"), [(0.5, 0.5), (8.0, 8.0), (1e6, turn_queue.LONGEST_S)]
)
def test_a_turn_lasts_as_long_as_was_asked_for(
    world: World, nodes, asked_s: float, lasts_s: float
) -> None:
    leader, follower, other = nodes
    follower.take(b"t", longest_s=asked_s)
    other.forward(b"write")
    world.pass_time(lasts_s - 0.1)
    assert leader.appended == []
    world.pass_time(0.2)
    assert leader.appended == [b"write"]


def test_a_node_that_is_not_heard_of_loses_its_turn_and_its_place(world: World, nodes) -> None:
    leader, follower, other = nodes
    follower.take(b"first")
    follower.take(b"second")
    other.take(b"third")
    world.pass_time(turn_queue.SILENCE_S / 2, "n2")
    assert leader.turns.queue.holder == "n2"
    world.pass_time(turn_queue.SILENCE_S, "n2")
    assert (leader.turns.queue.holder, len(leader.turns.queue)) == (None, 1), "n2 is forgotten"
    world.pass_time(turn_queue.SILENCE_S * 2, "n2")
    assert other.told == {b"third": None}
    assert leader.turns.queue.timed_out == 1


def test_a_lost_word_is_said_again(world: World, nodes) -> None:
    _, follower, _ = nodes
    follower.turns.take(
        b"t", deadline=world.time + 10, told=lambda end: follower.told.update({b"t": end})
    )
    world.mail.clear()  # the wish
    world.pass_time(turns.REPEAT_S)
    assert follower.told == {b"t": None}


def test_a_lost_grant_is_said_again(world: World, nodes) -> None:
    _, follower, _ = nodes
    follower.take(b"t")
    world.nodes["n2"].told.clear()
    follower.turns.end(b"t")
    world.mail.clear()  # the end: the leader thinks it has it still
    follower.take(b"t")
    assert follower.told == {b"t": None}


def test_a_grant_that_nobody_wants_any_more_is_given_back(world: World, nodes) -> None:
    """A wish that was overtaken by its own end."""
    leader, follower, _ = nodes
    follower.send("n1", Turn(token=b"ghost", kind=Turn.TAKE))
    world.deliver()
    assert leader.turns.queue.holder is None
    assert leader.turns.queue.granted == 1


def test_a_worker_is_told_when_no_turn_came_in_time(world: World, nodes) -> None:
    _, follower, _ = nodes
    follower.leader = None
    follower.take(b"t", timeout_s=0.5)
    world.pass_time(0.6)
    end = follower.told[b"t"]
    assert isinstance(end, Refusal)
    assert end.reason is Reason.UNAVAILABLE
    assert len(follower.turns) == 0


def test_another_leader_is_asked_anew_and_the_old_one_holds_nobody_back(
    world: World, nodes
) -> None:
    old, follower, new = nodes
    old.take(b"other")
    follower.take(b"t")
    new.forward(b"write")
    for node in nodes:
        node.leader = "n3"
    old.role, new.role = Role.FOLLOWER, Role.LEADER
    for node in nodes:
        node.turns.on_leader()
        node.forwards.let_go()
    world.deliver()
    assert [answer.result for answer in new.answers] == [ForwardAnswer.NOT_LEADER]
    assert (old.appended, len(old.turns.queue), old.turns.queue.holder) == ([], 0, None)
    assert follower.told == {b"t": None}


def test_the_followers_say_nothing_about_turns(world: World, nodes) -> None:
    _, follower, other = nodes
    follower.send("n3", Turn(token=b"t", kind=Turn.TAKE))
    world.deliver()
    assert len(other.turns) == 0


def test_who_wants_turns_is_bounded(world: World, nodes, monkeypatch) -> None:
    leader, follower, other = nodes
    monkeypatch.setattr(turns, "TURNS_WAITING_MAX", 1)
    monkeypatch.setattr(turn_queue, "TURNS_WAITING_MAX", 1)
    follower.take(b"one")
    follower.take(b"two")
    assert follower.told[b"two"].reason is Reason.BUSY
    other.take(b"three")
    assert len(leader.turns.queue) == 1


def test_what_is_held_back_is_bounded(world: World, nodes, monkeypatch) -> None:
    leader, follower, other = nodes
    monkeypatch.setattr(forwards_module, "HELD_FORWARDS_MAX", 1)
    follower.take(b"t")
    other.forward(b"one")
    other.forward(b"one")
    other.forward(b"two")
    assert [(a.proposal_id, a.result) for a in other.answers] == [(b"two", ForwardAnswer.BUSY)]
    monkeypatch.setattr(forwards_module, "HELD_FORWARDS_MAX", 9)
    monkeypatch.setattr(forwards_module, "HELD_BYTES_MAX", 1)
    other.forward(b"three")
    assert other.answers[-1].proposal_id == b"three"
    assert len(leader.forwards) == 1


def test_who_has_lost_its_turn_does_not_get_in_line_again_by_itself(world: World, nodes) -> None:
    leader, follower, _ = nodes
    follower.take(b"t")
    world.pass_time(2 * turn_queue.TURN_S_MAX)
    assert leader.turns.queue.granted == 1
    assert len(leader.turns.queue) == 0
