"""Cluster membership changes (paper §6; thesis chapter 4)."""

from __future__ import annotations

import random

import pytest

from raftcore import (
    AddLearner,
    AddVoter,
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
    Heartbeat,
    PreVote,
    PreVoteResponse,
    Removed,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from tests.core.changing import ChangingCluster, memberships, of
from tests.core.cluster import (
    ELECTION_MS,
    acknowledge,
    answer_heartbeat,
    candidate,
    entry,
    leader,
    member,
    start,
)

EXPLICIT = JointMode.EXPLICIT


def refused(node, *changes, **options) -> str:
    last_index = node.core.last_index
    with pytest.raises(ChangeRefused) as caught:
        node.core.change_membership(changes, node.now_ms, **options)
    assert node.core.last_index == last_index
    return caught.value.reason


def change(node, *changes, **options):
    placed = node.core.change_membership(changes, node.now_ms, **options)
    node.pump()
    return placed


def with_learners(voters: str = "abc", learners: str = "d"):
    """A leader whose learners have caught up."""
    node = leader("a", voters, learners=learners)
    for learner in learners:
        answer_heartbeat(node, learner)
        acknowledge(node, learner)
    node.take()
    return node


def joint(voters: str = "abc", learners: str = "d", gone: str = "c"):
    """A leader that has just appended a joint configuration."""
    node = with_learners(voters, learners)
    changes = [*(Promote(name) for name in learners), *(Remove(name) for name in gone)]
    change(node, *changes, joint=EXPLICIT)
    node.take()
    return node


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


# ------------------------------------------------------------------ joint consensus


def test_entries_go_to_all_servers_of_both_configurations():
    # "Log entries are replicated to all servers in both configurations" (§6).
    node = joint()
    node.propose(b"x")
    acknowledge(node, "d")
    assert {send.to for send in node.sent if isinstance(send.message, AppendEntries)} == {*"bcd"}


def test_agreement_needs_majorities_of_both_configurations():
    # "Agreement (for elections and entry commitment) requires separate majorities from both the
    # old and new configurations" (§6).  Old: a, b, c; new: a, d, e.
    node = joint(learners="de", gone="bc")
    joint_index = node.core.membership_index
    acknowledge(node, "d")
    assert node.core.commit_index < joint_index
    acknowledge(node, "e")
    assert node.core.commit_index < joint_index
    acknowledge(node, "c")
    assert node.core.commit_index == joint_index


def test_an_election_needs_majorities_of_both_configurations():
    data = encode_membership(of("ade", outgoing="abc"))
    node = member("a", entries=[entry(1, 1, data, EntryKind.MEMBERSHIP)])
    node.tick()
    for voter in "de":
        node.receive(PreVoteResponse(2, voter, granted=True))
        assert node.role is Role.PRE_CANDIDATE
    node.receive(PreVoteResponse(2, "b", granted=True))
    assert node.role is Role.CANDIDATE
    for voter in "bc":
        node.receive(RequestVoteResponse(2, voter, granted=True))
        assert node.role is Role.CANDIDATE
    node.receive(RequestVoteResponse(2, "e", granted=True))
    assert node.role is Role.LEADER


def test_any_server_of_either_configuration_may_lead():
    # "Any server from either configuration may serve as leader" (§6).
    entries = [entry(1, 1, encode_membership(of("ade", outgoing="abc")), EntryKind.MEMBERSHIP)]
    for name in "abcde":
        node = member(name, entries=entries)
        node.tick()
        assert node.role is Role.PRE_CANDIDATE


def test_a_leader_in_a_joint_configuration_needs_answers_from_both():
    node = joint(learners="de", gone="bc")
    for _ in range(20):
        if node.role is not Role.LEADER:
            break
        for follower in "de":
            answer_heartbeat(node, follower)
        node.tick()
    assert node.role is Role.FOLLOWER


def test_once_the_joint_configuration_is_committed_the_new_one_follows_by_itself():
    # "Once C_old,new has been committed ... it is now safe for the leader to create a log entry
    # describing C_new and replicate it to the cluster" (§6).
    cluster = ChangingCluster("abc")
    first = cluster.elect()
    old = [name for name in "abc" if name != first.name]
    cluster.join("d", "e")
    cluster.change(AddLearner("d"), AddLearner("e"))
    for name in "de":
        cluster.catch_up(name)
    cluster.change(Promote("d"), Promote("e"), *map(Remove, old))
    kept = first.name
    cluster.run(lambda: cluster.everywhere(of(f"{kept}de", removed="".join(old)), f"{kept}de"))
    steps = memberships(first)
    assert steps[-2] == of(f"{kept}de", outgoing="abc", auto_leave=True)


def test_not_before_it_is_committed():
    node = with_learners()
    change(node, Promote("d"), Remove("c"))
    acknowledge(node, "d")
    assert node.core.membership.joint
    acknowledge(node, "b")
    assert not node.core.membership.joint


def test_a_joint_configuration_may_wait_to_be_left_on_request():
    node = joint()
    with pytest.raises(ChangeRefused) as caught:
        node.core.leave_joint(node.now_ms)
    assert caught.value.reason == "in progress"
    acknowledge(node, "b")
    acknowledge(node, "d")
    assert node.core.membership == of("abd", outgoing="abc")
    index, _ = node.core.leave_joint(node.now_ms)
    assert node.core.membership == of("abd", removed="c")
    assert node.core.membership_index == index
    acknowledge(node, "b")
    with pytest.raises(ChangeRefused) as caught:
        node.core.leave_joint(node.now_ms)
    assert caught.value.reason == "not joint"


def test_the_next_leader_leaves_the_joint_configuration():
    # "If the leader crashes" after C_old,new (§6), its successor finds it in its log; and it too
    # commits an entry of its own term first.
    data = encode_membership(of("abd", outgoing="abc", auto_leave=True))
    entries = [entry(1, 1, data, EntryKind.MEMBERSHIP)]
    node = candidate("a", "abcd", entries=entries, applied_index=1)
    for voter in "bd":
        node.receive(RequestVoteResponse(2, voter, granted=True))
    assert node.role is Role.LEADER
    assert node.core.membership.joint
    for voter in "bd":
        acknowledge(node, voter)
    assert node.core.membership == of("abd", removed="c")


def test_leaving_waits_for_a_transfer_and_is_done_when_that_is_given_up():
    node = with_learners()
    change(node, Promote("d"), Remove("c"))
    node.core.transfer_leadership("b", node.now_ms)
    for voter in "bd":
        acknowledge(node, voter)
    assert node.core.commit_index == node.core.membership_index
    assert node.core.membership.joint
    while node.core.status(node.now_ms).transferring:
        for voter in "bd":
            answer_heartbeat(node, voter)
        node.tick()
    assert node.core.membership == of("abd", removed="c")


def test_a_node_is_replaced_in_one_change():
    cluster = ChangingCluster("abc")
    cluster.elect()
    cluster.join("d")
    cluster.change(AddLearner("d"))
    cluster.catch_up("d")
    gone = next(name for name in "abc" if name != cluster.leader.name)
    stay = "".join(sorted({*"abcd"} - {gone}))
    cluster.change(AddVoter("d"), Remove(gone))
    cluster.run(lambda: cluster.everywhere(of(stay, removed=gone), stay))
    cluster.leader.propose(b"x")
    cluster.run(lambda: all(cluster[name].applied[-1].data == b"x" for name in stay))


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


# ------------------------------------------------------------------ leaving


def test_a_removed_leader_replicates_but_does_not_count_itself():
    # "There will be a period of time (while it is committing C_new) when the leader is managing a
    # cluster that does not include itself; it replicates log entries but does not count itself in
    # majorities" (§6).
    node = leader()
    change(node, Remove("a"))
    node.propose(b"x")
    acknowledge(node, "b", 2)
    assert node.core.commit_index == 1
    assert node.role is Role.LEADER
    acknowledge(node, "c", 2)
    assert node.core.commit_index == 2


def test_it_steps_down_once_the_new_configuration_is_committed():
    # "In this case, the leader steps down (returns to follower state) once it has committed the
    # C_new log entry" (§6).
    node = leader()
    change(node, Remove("a"))
    acknowledge(node, "b")
    assert node.role is Role.LEADER
    node.take()
    acknowledge(node, "c")
    assert node.role is Role.FOLLOWER
    assert node.core.removed
    assert node.core.next_timer() is None
    assert node.take_one(TimeoutNow) == TimeoutNow(1, "a")


@pytest.mark.parametrize("kind", [Remove, Demote])
@pytest.mark.parametrize("joint_mode", [JointMode.AUTO, JointMode.ALWAYS])
def test_the_others_go_on_without_the_leader_that_left(kind, joint_mode):
    cluster = ChangingCluster("abc")
    old = cluster.elect()
    cluster.change(kind(old.name), joint=joint_mode)
    began_ms = cluster.now_ms
    cluster.run(lambda: any(node is not old for node in cluster.leaders))
    assert cluster.now_ms - began_ms < ELECTION_MS
    cluster.leader.propose(b"x")
    rest = [name for name in "abc" if name != old.name]
    cluster.run(lambda: all(cluster[name].applied[-1].data == b"x" for name in rest))
    assert old.core.removed is (kind is Remove)


def test_a_removed_server_is_told_once_that_is_committed():
    node = leader()
    change(node, Remove("c"))
    assert node.take(Removed) == []
    acknowledge(node, "b")
    assert node.take_one(Removed, "c") == Removed(1, "a")
    gone = member("c")
    gone.receive(Removed(1, "a"))
    assert gone.core.removed
    assert gone.core.next_timer() is None


def test_a_removed_server_that_was_not_reached_is_told_when_it_campaigns():
    cluster = ChangingCluster("abc")
    cluster.elect()
    gone = next(name for name in "abc" if name != cluster.leader.name)
    cluster.cut = {gone}
    cluster.change(Remove(gone))
    cluster.run_for(5 * ELECTION_MS)
    assert cluster[gone].role is not Role.FOLLOWER
    term = cluster.leader.core.current_term
    cluster.cut = set()
    cluster.run(lambda: cluster[gone].core.removed)
    assert cluster[gone].role is Role.FOLLOWER
    cluster.rest()
    assert cluster.leader.core.current_term == term


def test_whichever_way_it_asks_for_votes():
    node = leader()
    change(node, Remove("c"))
    acknowledge(node, "b")
    node.take()
    for message in (PreVote(2, "c", 1, 1), RequestVote(2, "c", 1, 1)):
        node.receive(message)
        assert node.take() == [Removed(1, "a")]


def test_who_learns_that_it_is_no_voter_any_more_does_not_campaign():
    node = member("c")
    for index, membership in enumerate((of("abc"), of("ab", removed="c")), 1):
        data = encode_membership(membership)
        one = entry(index, 1, data, EntryKind.MEMBERSHIP)
        node.receive(AppendEntries(1, "a", index - 1, index - 1 and 1, (one,), 0, 1))
    node.receive(Heartbeat(1, "a", 2, 1))
    node.take()
    while node.core.next_timer() is not None:
        node.tick()
    assert (node.role, node.sent) == (Role.FOLLOWER, [])
    assert node.core.removed


def test_nobody_is_told_of_a_removal_that_may_still_be_undone():
    node = leader()
    change(node, Remove("c"))
    node.take()
    node.receive(PreVote(2, "c", 1, 1))
    assert not node.take_one(PreVoteResponse, "c").granted
    assert node.take(Removed) == []


def test_a_candidate_that_hears_it_was_removed_gives_up_and_a_leader_does_not():
    node = candidate("c")
    node.receive(Removed(1, "a"))
    assert node.role is Role.FOLLOWER
    node.receive(TimeoutNow(1, "a"))
    assert node.role is Role.FOLLOWER
    late = leader("a")
    late.receive(Removed(1, "b"))
    assert late.role is Role.LEADER
    late.receive(Removed(2, "b"))
    assert (late.role, late.core.current_term) == (Role.FOLLOWER, 2)
    assert late.core.removed


def test_a_removed_server_that_campaigns_with_a_later_term_does_not_depose_the_leader():
    # "Servers disregard RequestVote RPCs when they believe a current leader exists" (§6).
    node = member("b")
    node.receive(Heartbeat(1, "a", 0, 1))
    node.take()
    node.receive(RequestVote(7, "x", 9, 6))
    assert node.take() == []
    assert node.core.current_term == 1


def test_a_removed_server_never_comes_back_under_its_id():
    node = leader()
    change(node, Remove("c"))
    acknowledge(node, "b")
    assert refused(node, AddLearner("c")) == "removed"
    again = start("a", node.disk, "abc", applied_index=2)
    assert again.core.membership.removed == {"c"}


def test_answers_of_a_removed_server_count_for_nothing():
    node = leader("a", "abcd")
    change(node, Remove("d"))
    node.receive(PreVoteResponse(2, "d", granted=True))
    acknowledge(node, "b")
    assert node.core.commit_index == 2
    node.propose(b"x")
    assert "d" not in {send.to for send in node.sent if isinstance(send.message, AppendEntries)}


def test_a_demoted_server_stays_as_a_learner():
    cluster = ChangingCluster("abc")
    cluster.elect()
    name = next(name for name in "abc" if name != cluster.leader.name)
    stay = "".join(sorted({*"abc"} - {name}))
    cluster.change(Demote(name))
    cluster.run(lambda: cluster.everywhere(of(stay, name), "abc"))
    cluster.leader.propose(b"x")
    cluster.run(lambda: cluster[name].applied[-1].data == b"x")
    assert cluster[name].core.next_timer() is None


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
