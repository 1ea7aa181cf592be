"""A trace holds everything that a core needs to do it all again."""

from __future__ import annotations

import json
import random

import pytest

from raftcore import NotLeader, Role, recording, trace
from raftcore.changes import AddLearner
from raftcore.messages import AppendEntries, AppendEntriesResponse, Heartbeat, PreVote
from raftcore.recording import Called, Event, LogReadFailed, Raised, Returned, Started, State
from raftcore.trace import Divergence, TraceError, TraceWriter, read, replay
from tests.core.cluster import Cluster, entry, leader, log_of, member, start

KIB = b"x" * 1024


class Tape(list):
    """A trace in memory."""

    def __init__(self, node_id: str) -> None:
        super().__init__()
        self.trace = TraceWriter(self.append, node_id)


def traced_cluster(names: str = "abc", **config) -> tuple[Cluster, dict[str, Tape]]:
    tapes = {name: Tape(name) for name in names}
    cluster = Cluster(names, **config)
    for name in names:
        cluster.members[name] = member(name, names, trace=tapes[name].trace, **config)
    return cluster, tapes


def busy(cluster: Cluster) -> None:
    """Elections, entries, reads, a transfer, a partition and what heals it."""
    first = cluster.elect()
    for _ in range(5):
        first.propose(KIB)
        for node in cluster.members.values():
            node.read()
        cluster.settle()
    cluster.cut = {first.name}
    first.propose(b"lost")
    second = cluster.elect()
    second.propose(b"other")
    cluster.cut = set()
    cluster.elect()
    second.core.transfer_leadership(first.name, cluster.now_ms)
    cluster.run(lambda: first.role is Role.LEADER)
    cluster.run_for(1000)


def test_a_replay_does_the_same():
    cluster, tapes = traced_cluster(cache_bytes_max=2048, append_bytes_max=2048)
    busy(cluster)
    for name, tape in tapes.items():
        assert replay(tape).status(0).term == cluster[name].core.current_term
        assert len(tape) > 50


def test_a_traced_core_does_what_an_untraced_one_does():
    traced, _ = traced_cluster()
    plain = Cluster("abc")
    for cluster in (traced, plain):
        busy(cluster)
    for name in "abc":
        assert traced[name].applied == plain[name].applied
        assert traced[name].reads == plain[name].reads
        assert traced[name].roles == plain[name].roles


def test_what_a_status_said_is_replayed():
    tape = Tape("a")
    node = leader(trace=tape.trace)
    told = node.core.status(node.now_ms)
    assert told.members
    assert told in [e.value for e in read(tape) if isinstance(e, Returned)]
    assert replay(tape).status(node.now_ms) == told


def test_changes_of_membership_are_replayed():
    tape = Tape("a")
    node = leader(trace=tape.trace)
    node.core.change_membership([AddLearner("d")], node.now_ms, based_on=1)
    node.pump()
    assert replay(tape).membership == node.core.membership


def test_a_replay_after_a_restart_needs_no_disk():
    tape = Tape("a")
    node = leader(entries=log_of(1, 1, 2), settled=False)
    node = start("a", node.disk, applied_index=2, trace=tape.trace)
    node.receive(AppendEntries(9, "b", 3, 2, (entry(4, 9, b"\x00\xff"),), 3, 1))
    assert replay(tape).commit_index == 3


def test_errors_belong_to_what_a_core_does():
    tape = Tape("a")
    node = member(trace=tape.trace)
    with pytest.raises(NotLeader):
        node.propose(b"x")
    assert [e.error for e in read(tape) if isinstance(e, Raised)] == ["NotLeader"]
    replay(tape)


def test_a_log_that_cannot_be_read_can_be_replayed():
    tape = Tape("a")
    node = leader(entries=log_of(1, 1), settled=False, trace=tape.trace)
    node.take()

    def unreadable(*_arguments):
        raise OSError("no medium")

    node.disk.entries = unreadable
    session = node.core._node.leading.progress["b"].session
    with pytest.raises(OSError, match="no medium"):
        node.receive(AppendEntriesResponse(2, "b", session, False, 0, 2, 0, 0))
    assert any(isinstance(event, LogReadFailed) for event in read(tape))
    replay(tape)


def test_a_core_that_does_something_else_is_found():
    tape = Tape("a")
    node = leader(trace=tape.trace)
    node.propose(b"x")
    changed = [line.replace('"commit_index":1', '"commit_index":0') for line in tape]
    with pytest.raises(Divergence) as caught:
        replay(changed)
    assert '"commit_index":1' in caught.value.replayed
    assert '"commit_index":0' in caught.value.recorded
    assert json.loads(tape[caught.value.line - 1])["node"] == "a"


def test_an_input_that_is_left_out_is_found():
    tape = Tape("a")
    leader(trace=tape.trace)
    first = next(i for i, event in enumerate(read(tape)) if isinstance(event, Called))
    with pytest.raises(Divergence):
        replay(tape[:first] + tape[first + 1 :])


def test_a_process_that_died_in_the_middle_of_an_input_can_be_replayed():
    tape = Tape("a")
    leader(trace=tape.trace)
    made = next(i for i, event in enumerate(read(tape), 1) if isinstance(event, State))
    for length in range(made, len(tape)):
        replay(tape[:length])
    with pytest.raises(TraceError):
        replay(tape[: made - 1])


def test_a_last_line_that_was_not_finished_is_left_out():
    tape = Tape("a")
    leader(trace=tape.trace)
    text = "".join(tape)
    start = text.rindex("\n", 0, -1) + 1
    for end in range(start, len(text)):
        assert len(list(read(text[:end].splitlines()))) == len(tape) - (end < len(text) - 1)
        replay(text[:end].splitlines())
    lines = text.splitlines()
    lines[-2] = lines[-2][:-1]
    with pytest.raises(TraceError, match=f"Line {len(lines) - 1} is no event"):
        replay(lines)


def test_what_is_looked_at_only_has_no_trace():
    tape = Tape("a")
    node = member(trace=tape.trace)
    before = len(tape)
    node.core.next_timer()
    assert node.core.role is Role.FOLLOWER
    assert len(tape) == before


def test_an_input_that_changes_nothing_leaves_no_state():
    tape = Tape("a")
    node = member(trace=tape.trace)
    before = len(tape)
    node.core.handle_timer(0)
    assert [type(e) for e in read(tape)][before:] == [Called]


def test_a_state_follows_each_change():
    tape = Tape("a")
    node = member(trace=tape.trace)
    node.receive(Heartbeat(4, "b", 0, 1))
    state = [event for event in read(tape) if isinstance(event, State)][-1]
    assert (state.current_term, state.leader, state.role) == (4, "b", Role.FOLLOWER)


def test_lines_tell_whose_they_are_and_what_they_are():
    tape = Tape("a")
    node = member(trace=tape.trace)
    node.receive(PreVote(3, "b", 0, 0))
    lines = [json.loads(line) for line in tape]
    assert {line["node"] for line in lines} == {"a"}
    assert lines[0]["is"] == "Started"
    received = next(line for line in lines if line["is"] == "Called" and line["name"] == "receive")
    assert received["arguments"][0] == {
        "is": "PreVote",
        "term": 3,
        "candidate": "b",
        "last_log_index": 0,
        "last_log_term": 0,
    }


@pytest.mark.parametrize(
    "lines",
    [
        ["{"],
        ["[]"],
        ["7"],
        ['{"is":"Nothing"}'],
        ['{"is":"Role","name":"LEADER"}'],
        ['{"is":"Returned"}'],
        [],
    ],
)
def test_other_lines_are_no_trace(lines):
    with pytest.raises(TraceError):
        replay(lines)


def test_a_trace_begins_with_a_start():
    tape = Tape("a")
    member(trace=tape.trace)
    assert isinstance(next(read(tape)), Started)
    with pytest.raises(TraceError):
        replay(tape[1:])


def test_an_untraced_core_has_no_hooks():
    assert not any(callable(value) for value in vars(member().core).values())


def test_fractions_are_fed_back_like_bits():
    events: list[Event] = []
    _, rng = recording.begin(events.append, member().disk, random.Random(1))
    drawn = [rng.random(), rng.randrange(10)]
    past = trace._Past(events).rng
    assert [past.random(), past.randrange(10)] == drawn


def test_effects_are_what_taking_them_returned():
    tape = Tape("a")
    node = leader(trace=tape.trace)
    node.propose(b"x")
    taken = [event.value for event in read(tape) if isinstance(event, Returned)]
    assert any("Persist" in {type(part).__name__ for part in v} for v in taken if v)


def line_of(tape: Tape, kind: str, *, last: bool = False) -> int:
    numbers = [i for i, line in enumerate(tape) if json.loads(line)["is"] == kind]
    return numbers[-1 if last else 0]


def test_a_difference_in_the_middle_of_an_input_is_found():
    # The error passes through the core, which must not make another of it.
    tape = Tape("a")
    leader(trace=tape.trace)
    number = line_of(tape, "Drawn", last=True)
    tape[number] = tape[number].replace('"bits":10', '"bits":11')
    with pytest.raises(Divergence) as caught:
        replay(tape)
    assert caught.value.line == number + 1


def test_events_that_do_not_happen_again_are_missed():
    tape = Tape("a")
    leader(trace=tape.trace)
    with pytest.raises(Divergence, match="nothing"):
        replay([*tape, tape[line_of(tape, "State")]])


def test_a_read_that_was_never_made_is_found():
    tape = Tape("a")
    node = leader(entries=log_of(1, 1, 2), settled=False, trace=tape.trace)
    for name in "bc":
        session = node.core._node.leading.progress[name].session
        node.receive(AppendEntriesResponse(3, name, session, False, 0, 3, 0, 0))
    del tape[line_of(tape, "LogRead", last=True)]
    with pytest.raises(Divergence, match="never made"):
        replay(tape)
