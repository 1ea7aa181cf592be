"""Changes of the membership, and servers that are new (paper §6; thesis chapter 4)."""

from __future__ import annotations

import random

import pytest

from raftcore import (
    AddLearner,
    ChangeRefused,
    Demote,
    EntryKind,
    JointMode,
    NotLeader,
    Promote,
    Remove,
    Role,
)
from raftcore.codec import encode_membership
from raftcore.messages import (
    AppendEntries,
    RequestVote,
    RequestVoteResponse,
)
from tests.core.changing import (
    ChangingCluster,
    change,
    joint,
    memberships,
    of,
    refused,
    with_learners,
)
from tests.core.cluster import (
    ELECTION_MS,
    acknowledge,
    answer_heartbeat,
    entry,
    leader,
    member,
    start,
)

EXPLICIT = JointMode.EXPLICIT


# ------------------------------------------------------------------ configurations as entries


def test_a_change_is_an_entry_that_holds_the_new_configuration():
    # "Cluster configurations are stored and communicated using special entries in the replicated
    # log" (§6).
    node = leader()
    assert change(node, AddLearner("d")) == (2, 1)
    assert memberships(node) == [of("abc"), of("abc", "d")]
    assert node.core.membership_index == 2


def test_a_server_uses_the_latest_configuration_in_its_log_committed_or_not():
    # "A server always uses the latest configuration in its log, regardless of whether the entry is
    # committed" (§6).
    node = leader()
    change(node, Remove("c"))
    assert node.core.commit_index == 1
    assert node.core.membership == of("ab", removed="c")
    follower = member("b")
    data = encode_membership(of("abd"))
    follower.receive(AppendEntries(1, "a", 0, 0, (entry(1, 1, data, EntryKind.MEMBERSHIP),), 0, 1))
    assert follower.core.commit_index == 0
    assert follower.core.membership == of("abd")


def test_a_configuration_that_is_cut_off_is_in_force_no_more():
    # "A log entry for a configuration change can be removed (if leadership changes); in this case,
    # a server must be prepared to fall back to the previous configuration in its log" (thesis §4.1).
    follower = member("d", "")
    first = entry(1, 1, encode_membership(of("abc", "d")), EntryKind.MEMBERSHIP)
    second = entry(2, 1, encode_membership(of("abcd")), EntryKind.MEMBERSHIP)
    follower.receive(AppendEntries(1, "a", 0, 0, (first, second), 0, 1))
    assert follower.core.membership == of("abcd")
    assert follower.core.next_timer() is not None
    follower.receive(AppendEntries(2, "b", 1, 1, (entry(2, 2, b""),), 0, 1))
    assert follower.core.membership == of("abc", "d")
    assert follower.core.membership_index == 1
    assert follower.core.next_timer() is None


def test_a_restart_finds_the_configuration_in_the_log():
    node = leader()
    change(node, Remove("c"))
    again = start("a", node.disk, "abc")
    assert again.core.membership == of("ab", removed="c")
    assert again.core.membership_index == 2


def test_a_voter_made_by_uncommitted_entries_campaigns():
    # Its log may be the only one that is up to date enough to win.
    node = member("d", "")
    data = encode_membership(of("abcd"))
    node.receive(AppendEntries(1, "a", 0, 0, (entry(1, 1, data, EntryKind.MEMBERSHIP),), 0, 1))
    node.take()
    node.tick()
    assert node.role is Role.PRE_CANDIDATE
    assert [send.to for send in node.sent] == ["a", "b", "c"]


# ------------------------------------------------------------------ when a change may begin


def test_only_a_leader_changes_the_membership():
    with pytest.raises(NotLeader):
        member().core.change_membership([Remove("c")], 0)
    with pytest.raises(NotLeader):
        member().core.leave_joint(0)


def test_no_change_before_the_leader_has_committed_an_entry_of_its_term():
    # Ongaro's erratum (2015): "a leader may not append a new configuration entry until it has
    # committed an entry from its current term".
    node = leader(settled=False)
    assert refused(node, Remove("c")) == "nothing committed"
    acknowledge(node, "b")
    change(node, Remove("c"))


def test_two_leaders_cannot_go_on_from_one_configuration_with_majorities_that_share_nobody():
    # The erratum's own example: a, b, c, d; the first leader adds e and is cut off with it, the
    # second removes one.  Had it needed no commit of its own first, {a, e, ...} and {b, c} could
    # both decide.
    cluster = ChangingCluster("abcd")
    first = cluster.elect()
    cluster.join("e")
    cluster.change(AddLearner("e"))
    cluster.catch_up("e")
    others = [name for name in "abcd" if name != first.name]
    cluster.lose = lambda sender, send: send.to in others or sender in others
    first.core.change_membership([Promote("e")], cluster.now_ms)
    cluster.settle()
    assert first.core.membership.voters == frozenset("abcde")
    first_side = {first.name, "e"}
    cluster.lose = lambda sender, send: (sender in first_side) != (send.to in first_side)
    cluster.run(lambda: any(cluster[name].role is Role.LEADER for name in others))
    second = next(cluster[name] for name in others if cluster[name].role is Role.LEADER)
    gone = next(name for name in others if name != second.name)
    second.core.change_membership([Remove(first.name)], cluster.now_ms)
    cluster.settle()
    assert second.core.commit_index == second.core.membership_index
    cluster.lose = lambda sender, send: False
    cluster.run(lambda: cluster.everywhere(second.core.membership, "".join(others)))
    assert first.name not in cluster[gone].core.membership.voters


def test_one_change_at_a_time():
    # "Only one server can be added or removed from the cluster at a time ... larger changes are
    # implemented as a series of single-server changes" (thesis §4.1).
    node = leader()
    change(node, AddLearner("d"))
    assert refused(node, AddLearner("e")) == "in progress"
    acknowledge(node, "b")
    change(node, AddLearner("e"))


def test_no_change_while_a_joint_configuration_is_in_force():
    node = joint()
    assert refused(node, AddLearner("e")) == "in progress"
    acknowledge(node, "b")
    acknowledge(node, "d")
    assert node.core.commit_index == node.core.membership_index
    assert refused(node, AddLearner("e")) == "in progress"


def test_no_change_while_leadership_is_handed_over():
    node = leader()
    node.core.transfer_leadership("b", node.now_ms)
    assert refused(node, Remove("c")) == "transferring"


def test_a_change_may_depend_on_the_membership_it_was_thought_of_for():
    node = leader()
    based_on = node.core.membership_index
    change(node, AddLearner("d"), based_on=based_on)
    acknowledge(node, "b")
    assert refused(node, Remove("c"), based_on=based_on) == "outdated"
    change(node, Remove("c"), based_on=node.core.membership_index)


# ------------------------------------------------------------------ new servers


def test_a_new_server_gets_the_log_without_counting():
    # "New servers join the cluster as non-voting members (the leader replicates log entries to
    # them, but they are not considered for majorities)" (§6).
    node = with_learners("ab")
    node.propose(b"x")
    acknowledge(node, "d")
    assert node.core.commit_index == node.core.last_index - 1
    acknowledge(node, "b")
    assert node.core.commit_index == node.core.last_index


def test_a_server_accepts_entries_of_a_leader_that_is_in_no_configuration_of_its_own():
    # "A server accepts AppendEntries requests from a leader that is not part of the server's
    # latest configuration" (thesis §4.1).
    node = member("d", "")
    data = encode_membership(of("abc", "d"))
    node.receive(AppendEntries(1, "a", 0, 0, (entry(1, 1, data, EntryKind.MEMBERSHIP),), 1, 1))
    assert node.core.leader == "a"
    assert node.core.commit_index == 1


def test_a_server_votes_for_a_candidate_that_is_in_no_configuration_of_its_own():
    # "A server also grants its vote to a candidate that is not part of the server's latest
    # configuration" (thesis §4.1).
    node = member("b")
    node.receive(RequestVote(1, "x", 0, 0))
    assert node.take_one(RequestVoteResponse).granted


def test_a_learner_becomes_a_voter_once_its_last_round_was_short():
    # "If the last round lasts less than an election timeout, then the leader adds the server to
    # the cluster" (thesis §4.2.1).
    node = leader()
    change(node, AddLearner("d"))
    acknowledge(node, "b")
    assert refused(node, Promote("d")) == "not caught up"
    for _ in range(9):
        answer_heartbeat(node, "b")
        node.tick()
    node.propose(b"written meanwhile")
    acknowledge(node, "d", 2)
    assert refused(node, Promote("d")) == "not caught up"
    acknowledge(node, "d", 3)
    change(node, Promote("d"))


def test_a_learner_that_holds_all_has_caught_up_however_long_that_took():
    # Of an idle leader no other round would ever come.
    node = leader()
    change(node, AddLearner("d"))
    acknowledge(node, "b")
    for _ in range(9):
        answer_heartbeat(node, "b")
        node.tick()
    assert refused(node, Promote("d")) == "not caught up"
    acknowledge(node, "d", 2)
    change(node, Promote("d"))


def test_the_rounds_of_a_learner_that_falls_behind_again_are_not_short():
    node = with_learners()
    node.propose(b"x")
    for _ in range(9):
        answer_heartbeat(node, "b")
        answer_heartbeat(node, "d")
        node.tick()
    assert refused(node, Promote("d")) == "not caught up"


def test_a_learner_that_has_gone_silent_is_not_promoted():
    node = with_learners()
    for _ in range(9):
        answer_heartbeat(node, "b")
        node.tick()
    assert refused(node, Promote("d")) == "not caught up"


def test_a_learner_that_keeps_up_under_load_is_caught_up():
    node = with_learners()
    for _ in range(30):
        node.propose(b"x")
        last = node.core.last_index
        node.propose(b"y")
        acknowledge(node, "b", last)
        acknowledge(node, "d", last)
        for voter in "bd":
            answer_heartbeat(node, voter)
        node.tick()
    change(node, Promote("d"))


# ------------------------------------------------------------------ many, one after another


def test_a_cluster_grows_from_one_and_shrinks_to_one():
    cluster = ChangingCluster("a")
    cluster.elect()
    for name in "bc":
        cluster.join(name)
        cluster.change(AddLearner(name))
        cluster.catch_up(name)
        cluster.change(Promote(name))
    cluster.run(lambda: cluster.everywhere(of("abc"), "abc"))
    cluster.change(Remove("b"))
    cluster.run(lambda: cluster.everywhere(of("ac", removed="b"), "ac"))
    cluster.change(Remove("c"))
    cluster.cut = {"b", "c"}
    cluster.leader.propose(b"alone")
    cluster.run(lambda: cluster["a"].applied[-1].data == b"alone")


@pytest.mark.parametrize("seed", range(8))
def test_changes_under_lost_messages_keep_one_history(seed):
    cluster = ChangingCluster("abc", seed=seed)
    rng = random.Random(seed)
    cluster.elect()
    cluster.join("d", "e")
    wishes = [
        [AddLearner("d"), AddLearner("e")],
        [Promote("d"), Remove("a")],
        [Promote("e"), Demote("b")],
        [Remove("b"), Demote("c")],
    ]
    cluster.lose = lambda sender, send: rng.random() < 0.1
    for wish in wishes:
        while not _has(cluster, wish):
            cluster.run_for(ELECTION_MS)
    applied = [[(e.index, e.term) for e in node.applied] for node in cluster.members.values()]
    longest = max(applied, key=len)
    assert all(one == longest[: len(one)] for one in applied)
    assert cluster.leader.core.membership.voters == {*"de"}


def _has(cluster, wish) -> bool:
    """Ask for it; whether it has come true."""
    try:
        cluster.change(*wish)
    except NotLeader:
        return False
    except ChangeRefused as error:
        return error.reason in ("known", "unknown", "removed")
    return False
