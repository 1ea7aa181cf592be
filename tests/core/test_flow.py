"""How much a leader sends, and how it finds out what was lost (thesis §10.2.1; paper §5.3)."""

from __future__ import annotations

import pytest

from raftcore import Config, ProposalRefused, Send
from raftcore.messages import AppendEntries, AppendEntriesResponse, HeartbeatResponse
from raftcore.state.log import ENTRY_OVERHEAD_BYTES
from raftcore.state.progress import Progress, ProgressState
from tests.core.cluster import acknowledge, answer_heartbeat, entry, leader, log_of, member

KIB = b"x" * 1024


def progress_of(node, name="b"):
    return node.core._node.leading.progress[name]


def refuse(node, session, rejected, hint_index=0, hint_term=0, follower="b"):
    term = node.core.current_term
    node.receive(
        AppendEntriesResponse(term, follower, session, False, 0, rejected, hint_index, hint_term)
    )


# ---------------------------------------------------------------- the window


def test_messages_go_ahead_without_waiting_for_answers():
    node = leader()
    for _ in range(3):
        node.propose(b"x")
    assert [m.prev_log_index for m in node.take(AppendEntries, "b")] == [1, 2, 3]


def test_the_window_bounds_their_number():
    node = leader(inflight_max=4)
    for _ in range(10):
        node.propose(b"x")
    assert len(node.take(AppendEntries, "b")) == 4
    acknowledge(node, "b", 3)
    assert [len(m.entries) for m in node.take(AppendEntries, "b")] == [6], "all that had to wait"


def test_the_window_bounds_their_bytes():
    node = leader(inflight_bytes_max=3000)
    for _ in range(10):
        node.propose(KIB)
    assert len(node.take(AppendEntries, "b")) == 3


def test_one_entry_larger_than_the_window_may_always_go():
    node = leader(inflight_bytes_max=100, append_bytes_max=100)
    node.propose(KIB)
    node.propose(KIB)
    assert len(node.take(AppendEntries, "b")) == 1
    acknowledge(node, "b", 2)
    assert len(node.take(AppendEntries, "b")) == 1


def test_a_message_holds_as_many_entries_as_its_bytes_allow():
    node = leader(append_bytes_max=3 * (1024 + ENTRY_OVERHEAD_BYTES))
    for _ in range(7):
        node.core.propose(KIB, node.now_ms)
    node.pump()
    assert [len(m.entries) for m in node.take(AppendEntries, "b")] == [3, 3, 1]


@pytest.mark.parametrize("way_out", ["acknowledged", "refused", "stepped down"])
def test_the_bytes_of_a_window_are_released_on_every_way_out(way_out):
    node = leader(inflight_bytes_max=3000)
    for _ in range(3):
        node.propose(KIB)
    if way_out == "acknowledged":
        acknowledge(node, "b", 3)
        acknowledge(node, "b", 4)
    elif way_out == "refused":
        refuse(node, progress_of(node).session, 4, 1, 1)
        acknowledge(node, "b", 4)
    else:
        node.receive(HeartbeatResponse(9, "b", 1))
        assert node.core._node.leading is None
        return
    assert progress_of(node)._inflight_bytes == 0


def test_next_stays_ahead_of_match():
    node = leader(entries=log_of(1, 1, 1), settled=False)
    session = progress_of(node).session
    acknowledge(node, "b", 3)
    refuse(node, session, 2, 0, 0)
    refuse(node, session, 3, 0, 0)
    assert progress_of(node).match_index == 3
    assert progress_of(node).next_index == 5
    refuse(node, session, 4, 1, 1)
    assert progress_of(node).next_index == 4, "however far back the hint points"


# ---------------------------------------------------------------- probing


def test_while_probing_one_message_is_under_way():
    node = leader(settled=False)
    for _ in range(5):
        node.propose(b"x")
    assert len(node.take(AppendEntries, "b")) == 1


def test_a_refusal_sends_a_pipeline_back_to_probing():
    node = leader()
    for _ in range(5):
        node.propose(b"x")
    node.take()
    refuse(node, progress_of(node).session, 4, 1, 1)
    assert progress_of(node).state is ProgressState.PROBE
    message = node.take_one(AppendEntries, "b")
    assert message.prev_log_index == 1
    assert len(message.entries) == 5


def test_a_refusal_of_an_earlier_stream_is_dropped():
    # Of two refusals that were under way only the first says something: the second is about
    # messages that have been given up.
    node = leader()
    for _ in range(5):
        node.propose(b"x")
    session = progress_of(node).session
    refuse(node, session, 4, 1, 1)
    node.take()
    acknowledge(node, "b", 2)
    node.take()
    refuse(node, session, 5, 0, 0)
    assert node.take() == []
    assert progress_of(node).state is ProgressState.REPLICATE


def test_an_acknowledgement_of_an_earlier_incarnation_is_dropped():
    # The follower was removed and added again: what it held then it may not hold now.
    node = leader()
    node.propose(b"x")
    stale = AppendEntriesResponse(1, "b", progress_of(node).session, True, 2)
    leading = node.core._node.leading
    leading.progress["b"] = Progress(3, leading.next_session())
    node.receive(stale)
    assert progress_of(node).match_index == 0
    assert node.core.commit_index == 1


@pytest.mark.parametrize("rejected", [0, 1, 2, 7])
def test_a_refusal_of_something_else_than_the_probe_is_dropped(rejected):
    node = leader(entries=log_of(1, 1, 1), settled=False)
    node.take()
    refuse(node, progress_of(node).session, rejected)
    assert node.take() == []


def test_nobody_can_hold_more_than_was_sent():
    node = leader()
    node.propose(b"x")
    acknowledge(node, "b", 99)
    assert node.core.commit_index == 1
    assert progress_of(node).match_index == 1


def test_answers_from_strangers_are_dropped():
    node = leader()
    node.propose(b"x")
    node.receive(AppendEntriesResponse(1, "x", 1, True, 2))
    node.receive(HeartbeatResponse(1, "x", 1))
    assert node.core.commit_index == 1


# ---------------------------------------------------------------- loss


def test_a_full_window_of_lost_messages_is_noticed_by_heartbeats():
    node = leader(inflight_max=2)
    follower = member("b", entries=node.entries())
    for _ in range(4):
        node.propose(b"x")
    lost = node.take(AppendEntries, "b")
    assert len(lost) == 2
    answer_heartbeat(node, "b")
    assert node.take(AppendEntries, "b") == [], "the answer may be on its way"
    answer_heartbeat(node, "b")
    for _ in range(3):
        for message in node.take(AppendEntries, "b"):
            follower.receive(message)
        for answer in follower.take(AppendEntriesResponse):
            node.receive(answer)
    assert follower.entries() == node.entries()


def test_a_lost_probe_is_repeated():
    node = leader(settled=False)
    first = node.take_one(AppendEntries, "b")
    answer_heartbeat(node, "b")
    answer_heartbeat(node, "b")
    again = node.take_one(AppendEntries, "b")
    assert again.prev_log_index == first.prev_log_index
    assert again.entries == (), "it asks first whether there is anybody to send entries to"


def test_a_lost_acknowledgement_is_repeated():
    node = leader()
    follower = member("b", entries=node.entries())
    node.propose(b"x")
    follower.receive(node.take_one(AppendEntries, "b"))
    follower.take_one(AppendEntriesResponse)
    answer_heartbeat(node, "b")
    answer_heartbeat(node, "b")
    follower.receive(node.take_one(AppendEntries, "b"))
    assert follower.take_one(AppendEntriesResponse).match_index == 2


def test_acknowledgements_keep_questions_away():
    node = leader()
    session = progress_of(node).session
    for index in range(2, 12):
        node.propose(b"x")
        node.propose(b"y")
        node.take()
        answer_heartbeat(node, "b")
        acknowledge(node, "b", index)
    assert progress_of(node).session == session


def test_a_follower_that_lost_unwritten_entries_gets_them_again():
    node = leader()
    follower = member("b", entries=node.entries(), slow_disk=True)
    node.propose(b"x")
    follower.receive(node.take_one(AppendEntries, "b"))
    follower = member("b", entries=node.entries()[:1])  # the power failed
    node.propose(b"y")
    for _ in range(3):
        for message in node.take(AppendEntries, "b"):
            follower.receive(message)
        for answer in follower.take(AppendEntriesResponse):
            node.receive(answer)
    assert follower.entries() == node.entries()


# ---------------------------------------------------------------- proposals


def test_too_much_uncommitted_is_refused_as_busy():
    node = leader(uncommitted_bytes_max=5 * 1024)
    with pytest.raises(ProposalRefused) as caught:
        for _ in range(10):
            node.propose(KIB)
    assert caught.value.reason == "busy"
    assert 3 <= node.core.last_index - 1 <= 5
    acknowledge(node, "b")
    node.propose(KIB)


def test_one_entry_may_always_come_in_whatever_its_size():
    node = leader(uncommitted_bytes_max=10)
    node.propose(KIB)
    with pytest.raises(ProposalRefused):
        node.propose(b"")
    acknowledge(node, "b")
    node.propose(KIB)


def test_what_another_leader_replaced_is_not_counted_any_more():
    node = leader(uncommitted_bytes_max=5 * 1024)
    for _ in range(4):
        node.propose(KIB)
    node.receive(AppendEntries(2, "b", 1, 1, (entry(2, 2),), 2, 1))
    assert node.core._node.log.uncommitted_bytes == 0


def test_old_entries_are_read_from_disk_a_few_at_a_time():
    # A follower that is far behind must not keep the leader's loop reading.
    entries = [entry(i, 1, KIB) for i in range(1, 101)]
    node = leader(entries=entries, settled=False, append_bytes_max=2048)
    refuse(node, progress_of(node).session, 100, 0, 0)
    session = progress_of(node).session
    node.core.receive(AppendEntriesResponse(2, "b", session, True, 2), node.now_ms)
    assert sum(isinstance(e, Send) and e.to == "b" for e in node.core.take_effects()) == 2


# ---------------------------------------------------------------- config


@pytest.mark.parametrize(
    "wrong",
    [
        {"node_id": ""},
        {"heartbeat_ms": 0},
        {"heartbeat_ms": 600},
        {"inflight_max": 0},
        {"append_bytes_max": 0},
    ],
)
def test_a_config_that_cannot_work_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**{"node_id": "a", **wrong})
