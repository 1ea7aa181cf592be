"""Voters that keep no data: what was acknowledged is never lost, and one failure stops nobody."""

from __future__ import annotations

from itertools import combinations

import pytest

from raftcore import (
    AddLearner,
    ChangeRefused,
    EntryKind,
    InvariantViolation,
    Promote,
    Remove,
    Role,
    TransferRefused,
)
from raftcore.codec import encode_membership
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HeartbeatResponse,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from tests.core.changing import ChangingCluster, WitnessedCluster, of, voter
from tests.core.cluster import (
    ELECTION_MS,
    Member,
    acknowledge,
    answer_heartbeat,
    entry,
    member,
)
from tests.core.storm import Storm

AS_MEMBERS = EntryKind.MEMBERSHIP


def witness() -> Member:
    """One that has heard its first entries, the second a command."""
    node = voter("w", "abw", "w")
    first = entry(1, 1, encode_membership(of("abw", witnesses="w")), AS_MEMBERS)
    node.receive(AppendEntries(1, "a", 0, 0, (first, entry(2, 1, b"data")), 0, 1))
    return node


def leader(voters: str = "abw", witnesses: str = "w", *, settled: bool = True) -> Member:
    """a leads."""
    node = voter("a", voters, witnesses)
    node.tick()
    for name in voters[1:]:
        if node.role is Role.PRE_CANDIDATE:
            node.receive(PreVoteResponse(1, name, granted=True))
    for name in voters[1:]:
        if node.role is Role.CANDIDATE:
            node.receive(RequestVoteResponse(1, name, granted=True))
    assert node.role is Role.LEADER
    if settled:
        for name in voters[1:]:
            if name not in witnesses:
                acknowledge(node, name)
        for name in witnesses:
            witnessed(node, name)
        node.take()
    return node


def witnessed(node: Member, name: str = "w", match_index: int | None = None) -> None:
    """A witness's success."""
    session = node.core._node.leading.progress[name].session
    index = node.core.last_index if match_index is None else match_index
    term = node.core.current_term
    node.receive(AppendEntriesResponse(term, name, session, True, index, witness=True))


def sent_to(node: Member, name: str) -> list[int]:
    """Indexes of the entries sent to it since the last look."""
    return [e.index for message in node.take(AppendEntries, name) for e in message.entries]


def let_pass(node: Member, duration_ms: int, *answering: str) -> None:
    end_ms = node.now_ms + duration_ms
    while node.now_ms < end_ms:
        for name in answering:
            answer_heartbeat(node, name)
        node.tick()


# ------------------------------------------------------------------ what it keeps


def test_a_witness_is_sent_no_data():
    node = leader()
    node.propose(b"data")
    acknowledge(node, "b")
    (message,) = node.take(AppendEntries, "w")
    assert [(e.index, e.term, e.kind, e.data) for e in message.entries] == [
        (2, 1, EntryKind.WITNESSED, b"")
    ]
    (for_data,) = {m.entries for m in node.take(AppendEntries, "b") if m.entries}
    assert for_data[0].data == b"data"


def test_it_keeps_none_even_if_it_is_sent_some():
    node = witness()
    assert [(e.kind, e.data) for e in node.entries()][1:] == [(EntryKind.WITNESSED, b"")]


def test_it_knows_who_votes():
    assert witness().core.membership == of("abw", witnesses="w")


def test_its_vote_goes_by_the_log_it_knows_of():
    # "The voter denies its vote if its own log is more up-to-date than that of the candidate"
    # (paper §5.4.1).
    node = witness()
    node.now_ms += 2 * ELECTION_MS
    node.receive(RequestVote(2, "b", 1, 1))
    assert not node.take_one(RequestVoteResponse).granted
    node.receive(RequestVote(3, "b", 2, 1))
    assert node.take_one(RequestVoteResponse).granted


def test_it_never_campaigns():
    node = witness()
    node.receive(TimeoutNow(1, "a"))
    node.core.handle_timer(100 * ELECTION_MS)
    assert (node.role, node.core.current_term) == (Role.FOLLOWER, 1)
    assert node.core.next_timer() is None


def test_nobody_hands_over_to_it():
    node = leader()
    with pytest.raises(TransferRefused) as caught:
        node.core.transfer_leadership("w", node.now_ms)
    assert caught.value.reason == "witness"
    answer_heartbeat(node, "w")
    with pytest.raises(TransferRefused) as caught:
        node.core.transfer_leadership(None, node.now_ms)
    assert caught.value.reason == "nobody"


def test_its_priority_is_no_wish_to_lead():
    node = leader()
    end_ms = node.now_ms + 8 * ELECTION_MS
    while node.now_ms < end_ms:
        term, sequence = node.core.current_term, node.core._node.leading.sequence
        node.receive(HeartbeatResponse(term, "w", sequence, 9))
        node.receive(HeartbeatResponse(term, "b", sequence, 1))
        node.tick()
    assert node.take(TimeoutNow) == []


def test_it_has_nothing_to_read():
    node = witness()
    read_id = node.read()
    assert node.reads[read_id].reason == "witness"


# ------------------------------------------------------------------ what it may not be taken for


def test_what_a_node_is_in_this_it_stays():
    disk = witness().disk
    with pytest.raises(InvariantViolation, match="no witness"):
        voter("w", "abw", "", disk=disk)
    with pytest.raises(InvariantViolation, match="a witness"):
        voter(
            "w",
            "abw",
            "w",
            disk=member(
                "w", "abw", entries=[entry(1, 1, encode_membership(of("abw")), AS_MEMBERS)]
            ).disk,
        )


def test_a_copy_without_data_is_not_taken_for_one_that_has_it():
    # A witness that the membership does not name as one: the setting was forgotten at the leader.
    node = voter("a", "abc")
    node.tick()
    node.receive(PreVoteResponse(1, "b", granted=True))
    node.receive(RequestVoteResponse(1, "b", granted=True))
    witnessed(node, "b")
    assert node.core.commit_index == 0
    acknowledge(node, "b")
    assert node.core.commit_index == 1


def test_a_node_that_keeps_data_takes_no_entries_without():
    node = member("b")
    bare = entry(1, 1, b"", EntryKind.WITNESSED)
    node.receive(AppendEntries(1, "a", 0, 0, (bare,), 1, 1))
    assert node.core.leader == "a"
    assert (node.core.last_index, node.core.commit_index, node.sent) == (0, 0, [])


def test_witnesses_are_no_majority():
    node = leader()
    with pytest.raises(ChangeRefused) as caught:
        node.core.change_membership([Remove("a"), Remove("b")], node.now_ms)
    assert caught.value.reason == "witnesses"
    with pytest.raises(ValueError, match="majority"):
        voter("a", "avw", "vw")


# ------------------------------------------------------------------ when it is told


def test_as_long_as_the_others_are_well_it_learns_of_what_they_have_agreed_upon():
    # Else, with the leader gone, what only the leader and the witness know would bar everybody
    # who is left from being elected.
    node = leader()
    node.propose(b"x")
    assert sent_to(node, "w") == []
    acknowledge(node, "b")
    assert node.core.commit_index == 2
    assert sent_to(node, "w") == [2]


def test_when_they_are_not_its_voice_is_needed():
    node = leader()
    node.propose(b"x")
    let_pass(node, ELECTION_MS - 1, "w")
    assert sent_to(node, "w") == [2]
    assert node.core.commit_index == 1
    witnessed(node)
    assert node.core.commit_index == 2
    node.propose(b"and from then on at once")
    assert sent_to(node, "w") == [3]


def test_once_they_have_caught_up_it_is_not_needed_any_more():
    node = leader()
    node.propose(b"x")
    let_pass(node, ELECTION_MS, "w")
    witnessed(node)
    sent_to(node, "w")
    acknowledge(node, "b")
    node.propose(b"y")
    acknowledge(node, "b")
    witnessed(node)
    sent_to(node, "w")
    node.propose(b"z")
    assert sent_to(node, "w") == []


def test_where_they_can_never_agree_alone_it_is_told_at_once():
    node = leader("aw", settled=False)
    assert sent_to(node, "w") == [1]
    witnessed(node)
    assert node.core.commit_index == 1


def test_what_died_with_a_leader_bars_nobody_who_is_left():
    cluster = WitnessedCluster("abw", "w")
    old = cluster.elect()
    other = "b" if old.name == "a" else "a"
    cluster.lose = lambda sender, send: other in (sender, send.to)
    old.propose(b"known to nobody else who has data")
    cluster.settle()
    cluster.cut = {old.name}
    cluster.lose = lambda sender, send: False
    cluster.run(lambda: cluster[other].role is Role.LEADER)
    cluster[other].propose(b"after")
    cluster.run(lambda: cluster[other].applied[-1].data == b"after")


@pytest.mark.parametrize(("voters", "witnesses"), [("abw", "w"), ("abcvw", "vw"), ("abcw", "w")])
@pytest.mark.parametrize("seed", range(3))
def test_after_any_failure_of_a_minority_the_others_go_on(voters, witnesses, seed):
    for failing in combinations(voters, (len(voters) - 1) // 2):
        cluster = WitnessedCluster(voters, witnesses, seed=seed)
        node = cluster.elect()
        for number in range(5):
            node.core.propose(b"%d" % number, cluster.now_ms)
            # The moment is any: some messages are under way.
            cluster.deliver_once()
        for _ in range(seed):
            cluster.deliver_once()
        cluster.cut = set(failing)
        alive = [name for name in voters if name not in failing]

        def serving(cluster=cluster, alive=alive) -> bool:
            leaders = [cluster[name] for name in alive if cluster[name].role is Role.LEADER]
            return any(n.core.commit_index == n.core.last_index > 5 for n in leaders)

        cluster.run_for(3 * ELECTION_MS)
        for name in alive:
            if cluster[name].role is Role.LEADER:
                cluster[name].propose(b"after")
        cluster.run(serving)


def test_a_witness_joins_as_a_learner_and_becomes_a_voter():
    cluster = ChangingCluster("ab")
    cluster.elect()
    cluster.leader.propose(b"data")
    cluster.join("w", witness=True)
    cluster.change(AddLearner("w", witness=True))
    cluster.catch_up("w")
    cluster.change(Promote("w"))
    cluster.run(lambda: cluster.everywhere(of("abw", witnesses="w"), "abw"))
    assert {e.kind for e in cluster["w"].entries()} == {*EntryKind} - {
        EntryKind.COMMAND,
        EntryKind.NOOP,
    }
    old = cluster.leader
    cluster.cut = {old.name}
    cluster.run(lambda: any(node is not old for node in cluster.leaders))
    cluster.leader.propose(b"with the witness's voice")
    cluster.run(lambda: cluster.leader.applied[-1].data == b"with the witness's voice")


def test_a_witness_that_was_added_as_no_witness_never_becomes_a_voter():
    cluster = ChangingCluster("ab")
    cluster.elect()
    cluster.join("w", witness=True)
    cluster.change(AddLearner("w"))
    cluster.run_for(5 * ELECTION_MS)
    with pytest.raises(ChangeRefused) as caught:
        cluster.change(Promote("w"))
    assert caught.value.reason == "not caught up"


# ------------------------------------------------------------------ no acknowledged write is lost


@pytest.mark.parametrize(("voters", "witnesses"), [("abw", "w"), ("abcvw", "vw"), ("aw", "w")])
@pytest.mark.parametrize("seed", range(8))
def test_no_acknowledged_write_is_lost(voters, witnesses, seed):
    storm = Storm(voters, witnesses, seed)
    for number in range(1500):
        storm.step(number)
    storm.end()
    assert storm.acknowledged
    assert len(storm.led) > 2
