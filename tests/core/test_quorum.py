"""Majorities, against the definition; joint configurations too (paper §6)."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from raftcore import Membership
from raftcore.quorum import VoteResult, reached, vote_result

names = st.sets(st.sampled_from("abcdefg"), min_size=1)
memberships = st.builds(
    lambda voters, outgoing, learners: Membership(
        frozenset(voters), frozenset(learners), frozenset(outgoing)
    ),
    names,
    st.one_of(st.just(set()), names),
    st.sets(st.sampled_from("xyz")),
)


def is_quorum(membership: Membership, nodes: set[str]) -> bool:
    """The definition: more than half of each half that there is."""
    halves = [half for half in (membership.voters, membership.voters_outgoing) if half]
    return all(2 * len(half & nodes) > len(half) for half in halves)


@given(memberships, st.dictionaries(st.sampled_from("abcdefgxyz"), st.integers(0, 9)))
def test_what_a_quorum_has_reached(membership, values):
    def value_of(node: str) -> int:
        return values.get(node, 0)

    expected = max(
        level
        for level in range(10)
        if is_quorum(membership, {n for n in "abcdefgxyz" if value_of(n) >= level})
    )
    assert reached(membership, value_of) == expected


@given(memberships, st.dictionaries(st.sampled_from("abcdefgxyz"), st.booleans()))
def test_an_election_is_won_or_lost_when_no_other_vote_can_change_it(membership, votes):
    yes = {voter for voter, granted in votes.items() if granted}
    no = {voter for voter, granted in votes.items() if not granted}
    if is_quorum(membership, yes):
        expected = VoteResult.WON
    elif not is_quorum(membership, set("abcdefg") - no):
        expected = VoteResult.LOST
    else:
        expected = VoteResult.PENDING
    assert vote_result(membership, votes) is expected


def test_one_of_two_majorities_is_not_enough():
    joint = Membership(frozenset("abc"), frozenset(), frozenset("cde"))
    assert vote_result(joint, dict.fromkeys("ab", True)) is VoteResult.PENDING
    assert vote_result(joint, dict.fromkeys("de", True)) is VoteResult.PENDING
    assert vote_result(joint, dict.fromkeys("abde", True)) is VoteResult.WON
    assert vote_result(joint, dict.fromkeys("abc", True) | dict.fromkeys("de", False)) is (
        VoteResult.LOST
    )


def test_any_two_quorums_share_a_node():
    # What everything else rests on.
    membership = Membership(frozenset("abcd"), frozenset("x"), frozenset("cde"))
    everybody = "abcdex"
    quorums = [
        set(nodes)
        for size in range(len(everybody) + 1)
        for nodes in combinations(everybody, size)
        if is_quorum(membership, set(nodes))
    ]
    assert quorums
    assert all(a & b for a in quorums for b in quorums)
