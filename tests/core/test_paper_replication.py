"""Paper §5.3, and Figure 2, "AppendEntries RPC" and "Leaders": replication."""

from __future__ import annotations

import pytest

from raftcore import EntryKind, InvariantViolation, NotLeader
from raftcore.messages import AppendEntries, AppendEntriesResponse, Heartbeat
from tests.core.cluster import Cluster, acknowledge, entry, leader, log_of, member

PAPER_LEADER = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
"""Figure 7's leader, for term 8."""

PAPER_FOLLOWERS = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}
"""Figure 7's followers."""


def append(prev, prev_term, entries=(), commit=0, term=None, session=1):
    term = term or max([prev_term, *(e.term for e in entries), 1])
    return AppendEntries(term, "b", prev, prev_term, tuple(entries), commit, session)


# ---------------------------------------------------------------- receiver


@pytest.mark.parametrize(("prev", "prev_term"), [(3, 2), (4, 2), (9, 9), (2, 2), (1, 2)])
def test_an_append_without_its_predecessor_is_refused(prev, prev_term):
    # "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm"
    # (AppendEntries 2).
    node = member(entries=log_of(1, 1, 1))
    node.receive(append(prev, prev_term, [entry(prev + 1, 9)], commit=2))
    response = node.take_one(AppendEntriesResponse)
    assert (response.success, response.rejected_index) == (False, prev)
    assert node.terms() == [1, 1, 1]
    assert node.core.commit_index == 0


def test_new_entries_are_appended():
    # "Append any new entries not already in the log" (AppendEntries 4).
    node = member(entries=log_of(1, 1))
    node.receive(append(2, 1, [entry(3, 1), entry(4, 2)]))
    assert node.terms() == [1, 1, 1, 2]
    assert node.take_one(AppendEntriesResponse).match_index == 4


def test_a_conflicting_entry_is_deleted_with_all_that_follow_it():
    # "If an existing entry conflicts with a new one (same index but different terms), delete the
    # existing entry and all that follow it" (AppendEntries 3).
    node = member(entries=log_of(1, 1, 2, 2, 2))
    node.receive(append(2, 1, [entry(3, 3)]))
    assert node.terms() == [1, 1, 3]
    assert node.take_one(AppendEntriesResponse).match_index == 3


def test_a_conflict_in_the_middle_of_a_message_deletes_from_there_only():
    node = member(entries=log_of(1, 1, 2, 2, 2))
    kept = node.entries()[:3]
    node.receive(append(1, 1, [entry(2, 1), entry(3, 2), entry(4, 3), entry(5, 3)]))
    assert node.terms() == [1, 1, 2, 3, 3]
    assert node.entries()[:3] == kept


def test_a_message_that_ends_early_deletes_nothing():
    # Only a conflict deletes: this one may have been sent before the others.
    node = member(entries=log_of(1, 1, 1, 1))
    node.receive(append(0, 0, [entry(1, 1), entry(2, 1)]))
    node.receive(append(0, 0))
    assert node.terms() == [1, 1, 1, 1]
    assert node.core.last_index == 4
    assert node.persists == []


def test_appends_may_come_twice_and_out_of_order():
    # "Raft RPCs are idempotent" (§5.5).
    first, second = append(0, 0, [entry(1, 1), entry(2, 1)]), append(2, 1, [entry(3, 1)])
    node = member()
    for message in (second, first, second, first, second):
        node.receive(message)
    assert node.terms() == [1, 1, 1]


@pytest.mark.parametrize(
    ("sent", "commit", "expected"),
    [
        (1, 1, 1),
        (1, 5, 3),  # the follower's entries 4 and 5 were not compared with this leader's
        (0, 5, 2),
        (2, 5, 4),
        (3, 4, 4),
    ],
)
def test_commit_index_is_the_leaders_up_to_the_last_entry_of_the_message(sent, commit, expected):
    # "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)"
    # (AppendEntries 5).
    node = member(entries=log_of(1, 1, 1, 1, 1))
    node.receive(append(2, 1, [entry(3 + i, 1) for i in range(sent)], commit=commit))
    assert node.core.commit_index == expected
    assert [e.index for e in node.applied] == list(range(1, expected + 1))


def test_commit_index_never_falls():
    # "commitIndex: ... increases monotonically" (Figure 2).
    node = member(entries=log_of(1, 1, 1))
    node.receive(append(3, 1, commit=3))
    node.receive(append(2, 1, commit=1))
    node.receive(Heartbeat(1, "b", 2, 1))
    assert node.core.commit_index == 3


def test_committed_entries_are_applied_in_order_and_once():
    # "If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied]" (Figure 2).
    node = member(entries=log_of(1, 1, 1), applied_index=1)
    node.receive(append(3, 1, [entry(4, 1)], commit=2))
    node.receive(append(4, 1, commit=4))
    node.receive(append(4, 1, commit=4))
    assert [e.index for e in node.applied] == [2, 3, 4]


def test_committed_entries_are_never_deleted():
    # State Machine Safety (Figure 3).  No correct leader asks for it: stop.
    node = member(entries=log_of(1, 1, 1))
    node.receive(append(3, 1, commit=3))
    with pytest.raises(InvariantViolation, match="committed"):
        node.receive(append(2, 1, [entry(3, 2)]))
    node = member(entries=log_of(1, 1, 1))
    node.receive(append(3, 1, commit=3))
    with pytest.raises(InvariantViolation, match="committed"):
        node.receive(append(2, 2, [entry(3, 2)]))
    assert node.terms() == [1, 1, 1]


def test_what_lies_below_the_commit_index_is_no_conflict():
    node = member(entries=log_of(1, 1, 1, 1))
    node.receive(append(4, 1, commit=4))
    node.take()
    node.receive(append(1, 1, [entry(2, 1)]))
    assert node.take_one(AppendEntriesResponse).match_index == 4


@pytest.mark.parametrize("terms", PAPER_FOLLOWERS.values(), ids=PAPER_FOLLOWERS)
def test_figure_7_every_follower_becomes_equal_to_the_leader(terms):
    # "The leader handles inconsistencies by forcing the followers' logs to duplicate its own"
    # (§5.3); with hints of terms, in a few messages.
    node = leader("a", "abc", entries=log_of(*PAPER_LEADER), term=7, settled=False)
    follower = member("b", entries=log_of(*terms), term=8)
    rounds = 0
    while follower.terms() != [*PAPER_LEADER, 8]:
        rounds += 1
        assert rounds <= 4
        for message in node.take(AppendEntries, "b"):
            follower.receive(message)
        for answer in follower.take(AppendEntriesResponse):
            node.receive(answer)
    assert follower.entries() == node.entries()


# ---------------------------------------------------------------- hints


@pytest.mark.parametrize(
    ("terms", "prev", "prev_term", "hint"),
    [
        ((1, 1, 1), 9, 4, (3, 1)),  # too short: its last entry
        ((1, 1, 2, 2, 2), 5, 4, (5, 2)),  # all of its term 2 may be in the leader's log
        ((1, 1, 5, 5, 5), 5, 4, (2, 1)),  # none of its term 5 is
        ((5, 5, 5), 3, 4, (0, 0)),
    ],
)
def test_a_refusal_names_the_last_place_where_the_logs_may_agree(terms, prev, prev_term, hint):
    # "The follower can include the term of the conflicting entry and the first index it stores for
    # that term" (§5.3, end).
    node = member(entries=log_of(*terms))
    node.receive(append(prev, prev_term, [entry(prev + 1, 9)]))
    response = node.take_one(AppendEntriesResponse)
    assert (response.hint_index, response.hint_term) == hint


def test_a_hint_never_points_below_what_is_committed():
    node = member(entries=log_of(1, 1, 1, 4, 4))
    node.receive(append(3, 1, commit=3, term=4))
    node.take()
    node.receive(append(5, 2, [entry(6, 5)]))
    response = node.take_one(AppendEntriesResponse)
    assert (response.hint_index, response.hint_term) == (3, 1)


def test_thousands_of_differing_entries_cost_two_probes():
    # "Decrementing one at a time" would take 3,000.
    node = leader("a", entries=log_of(1, *[3] * 3000), settled=False)
    follower = member("b", entries=log_of(1, *[2] * 4000), term=3)
    probes = 0
    while not (answers := follower.take(AppendEntriesResponse)) or not answers[-1].success:
        for answer in answers:
            node.receive(answer)
        for message in node.take(AppendEntries, "b"):
            probes += 1
            follower.receive(message)
    assert probes == 2


# ---------------------------------------------------------------- leader


def test_only_a_leader_takes_proposals_and_others_say_who_leads():
    # "If a client contacts a follower, the follower redirects it to the leader" (§5.1).
    node = member()
    with pytest.raises(NotLeader) as caught:
        node.propose(b"x")
    assert caught.value.leader is None
    node.receive(Heartbeat(1, "b", 0, 1))
    with pytest.raises(NotLeader) as caught:
        node.propose(b"x")
    assert caught.value.leader == "b"


def test_a_proposal_is_appended_and_sent_to_everybody():
    # "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
    # parallel to each of the other servers" (§5.3).
    node = leader()
    assert node.propose(b"x") == (2, 1)
    assert node.entries()[-1].data == b"x"
    for voter in "bc":
        message = node.take_one(AppendEntries, voter)
        assert [e.data for e in message.entries] == [b"x"]
        assert (message.prev_log_index, message.prev_log_term) == (1, 1)


def test_a_new_leader_assumes_that_logs_are_equal():
    # "nextIndex: initialized to leader last log index + 1; matchIndex: initialized to 0" (Figure 2).
    node = leader(entries=log_of(1, 1, 2), settled=False)
    message = node.take_one(AppendEntries, "b")
    assert (message.prev_log_index, message.prev_log_term) == (3, 2)
    assert [status.match_index for status in node.core.status(0).members] == [4, 0, 0]


def test_a_success_advances_and_what_is_missing_follows():
    # "If last log index >= nextIndex for a follower: send AppendEntries RPC with log entries
    # starting at nextIndex.  If successful: update nextIndex and matchIndex" (Figure 2).
    node = leader(settled=False)
    node.take()
    node.propose(b"x")
    assert node.take(AppendEntries) == [], "the first message is not answered yet"
    acknowledge(node, "b", 1)
    assert [e.data for e in node.take_one(AppendEntries, "b").entries] == [b"x"]
    acknowledge(node, "b", 2)
    assert node.core.status(0).members[1].match_index == 2


def test_a_refusal_moves_back_and_is_tried_again():
    # "If AppendEntries fails because of log inconsistency: decrement nextIndex and retry"
    # (Figure 2).
    node = leader(entries=log_of(1, 1, 2, 2), settled=False)
    session = node.take_one(AppendEntries, "b").session
    node.receive(AppendEntriesResponse(3, "b", session, False, 0, 4, 2, 1))
    message = node.take_one(AppendEntries, "b")
    assert (message.prev_log_index, message.prev_log_term) == (2, 1)
    assert message.entries[0].index == 3


def test_a_leader_never_overwrites_its_own_log():
    # Leader Append-Only (Figure 3).
    node = leader(entries=log_of(1, 1, 2))
    before = node.entries()
    for index in range(5):
        node.propose(b"%d" % index)
    assert node.entries()[: len(before)] == before


def test_an_empty_log_begins_with_the_membership():
    node = leader()
    first = node.entries()[0]
    assert (first.index, first.kind) == (1, EntryKind.MEMBERSHIP)
    assert node.core.membership.voters == set("abc")


@pytest.mark.parametrize("seed", range(10))
def test_a_lossy_network_only_costs_time(seed):
    # "If followers crash or run slowly, or if network packets are lost, the leader retries
    # AppendEntries RPCs indefinitely" (§5.3).
    cluster = Cluster("abc", seed=seed, append_bytes_max=300, inflight_max=3)
    losses = cluster.members["a"].core._node.rng
    cluster.lose = lambda sender, send: losses.random() < 0.3
    node = cluster.elect()
    for index in range(50):
        node.propose(b"%d" % index)
    node = None
    commands = [b"%d" % index for index in range(50)]

    def everywhere() -> bool:
        return all(
            [e.data for e in m.applied if e.kind is EntryKind.COMMAND] == commands
            for m in cluster.members.values()
        )

    cluster.run(everywhere)
