"""Which membership comes of which changes, and which changes are refused."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raftcore import (
    AddLearner,
    AddVoter,
    ChangeRefused,
    Demote,
    JointMode,
    Membership,
    Promote,
    Remove,
)
from raftcore.changes import changed, left
from raftcore.codec import decode_membership, encode_membership
from raftcore.proto import raft_pb2 as pb
from tests.core.changing import of

AUTO, ALWAYS, EXPLICIT = JointMode.AUTO, JointMode.ALWAYS, JointMode.EXPLICIT


def make(membership: Membership, *changes, mode: JointMode = AUTO) -> Membership:
    return changed(membership, changes, mode, lambda name: name != "z")


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        (of("abc"), [AddLearner("d")], of("abc", "d")),
        (of("abc", "d"), [Promote("d")], of("abcd")),
        (of("abc", "d"), [AddVoter("d")], of("abcd")),
        (of("abc"), [Remove("c")], of("ab", removed="c")),
        (of("abc", "d"), [Remove("d")], of("abc", removed="d")),
        (of("abc"), [Demote("c")], of("ab", "c")),
        (of("abc"), [AddLearner("d"), AddLearner("e"), Remove("c")], of("ab", "de", removed="c")),
        (of("ab"), [AddLearner("w", witness=True)], of("ab", "w", witnesses="w")),
        (of("ab", "w", witnesses="w"), [Promote("w")], of("abw", witnesses="w")),
        (of("ab", "w", witnesses="w"), [AddVoter("w", witness=True)], of("abw", witnesses="w")),
        (of("abw", witnesses="w"), [Remove("w")], of("ab", removed="w")),
    ],
)
def test_at_most_one_voter_changes_at_a_time_without_a_joint_configuration(before, changes, after):
    # "Only one server can be added or removed from the cluster at a time" (thesis §4.1).
    assert make(before, *changes) == after


@pytest.mark.parametrize(
    ("before", "changes", "joint", "after"),
    [
        (
            of("abc", "d"),
            [Promote("d"), Remove("a")],
            of("bcd", outgoing="abc"),
            of("bcd", removed="a"),
        ),
        (
            of("abc", "de"),
            [Promote("d"), Promote("e")],
            of("abcde", outgoing="abc"),
            of("abcde"),
        ),
        (
            of("abc", "d"),
            [Promote("d"), Demote("a"), Remove("b")],
            of("cd", outgoing="abc", learners_next="a"),
            of("cd", "a", removed="b"),
        ),
        (
            of("abcw", "xy", witnesses="wx"),
            [Promote("x"), Remove("w"), Remove("y")],
            of("abcx", outgoing="abcw", witnesses="wx", removed="y"),
            of("abcx", witnesses="x", removed="wy"),
        ),
    ],
)
@pytest.mark.parametrize("mode", JointMode)
def test_several_voters_change_by_way_of_a_joint_configuration(before, changes, joint, after, mode):
    # "The cluster first switches to a transitional configuration we call joint consensus" (§6).
    made = make(before, *changes, mode=mode)
    assert made == Membership(
        voters=joint.voters,
        learners=joint.learners,
        voters_outgoing=joint.voters_outgoing,
        learners_next=joint.learners_next,
        witnesses=joint.witnesses,
        auto_leave=mode is not EXPLICIT,
        removed=joint.removed,
    )
    assert left(made) == after


def test_one_voter_may_change_by_way_of_a_joint_configuration_too():
    assert make(of("abc"), Remove("c"), mode=ALWAYS) == of("ab", outgoing="abc", auto_leave=True)
    assert make(of("abc"), Remove("c"), mode=EXPLICIT) == of("ab", outgoing="abc")


@pytest.mark.parametrize(
    ("before", "changes", "reason"),
    [
        (of("abc"), [], "no change"),
        (of("abc", "d"), [Promote("d"), Remove("d")], "duplicate"),
        (of("abc"), [AddLearner("a")], "known"),
        (of("abc", "d"), [AddLearner("d")], "known"),
        (of("abc"), [AddVoter("a")], "known"),
        (of("abc"), [Promote("a")], "known"),
        (of("abc"), [Promote("x")], "unknown"),
        (of("abc"), [Demote("x")], "unknown"),
        (of("abc", "d"), [Demote("d")], "unknown"),
        (of("abc"), [Remove("x")], "unknown"),
        (of("abc", removed="d"), [Remove("d")], "unknown"),
        (of("abc", removed="d"), [AddLearner("d")], "removed"),
        (of("abc", removed="d"), [AddVoter("d")], "removed"),
        (of("abc", removed="d"), [Promote("d")], "removed"),
        (of("abc"), [AddVoter("d")], "not caught up"),
        (of("abc", "z"), [Promote("z")], "not caught up"),
        (of("abc", "z"), [AddVoter("z"), Remove("a")], "not caught up"),
        (of("a"), [Remove("a")], "no voters"),
        (of("ab", "d"), [Demote("a"), Demote("b")], "no voters"),
        (of("abc", "d"), [AddVoter("d", witness=True)], "witnesses"),
        (of("abc", "w", witnesses="w"), [AddVoter("w")], "witnesses"),
        (of("aw", "v", witnesses="vw"), [Promote("v")], "witnesses"),
        (of("aw", witnesses="w"), [Remove("a")], "witnesses"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(before, changes, reason):
    with pytest.raises(ChangeRefused) as caught:
        make(before, *changes)
    assert caught.value.reason == reason
    assert str(caught.value).endswith(".")


NAMES = "abcdef"
voters = st.sets(st.sampled_from(NAMES), min_size=1)


def quorums(membership: Membership) -> list[set[str]]:
    halves = [half for half in (membership.voters, membership.voters_outgoing) if half]
    return [
        set(nodes)
        for size in range(1, len(NAMES) + 1)
        for nodes in combinations(NAMES, size)
        if all(2 * len(half & set(nodes)) > len(half) for half in halves)
    ]


def changes_to(old: set[str], new: set[str]) -> list[Promote | Remove]:
    return [
        *(Promote(name) for name in sorted(new - old)),
        *(Remove(name) for name in sorted(old - new)),
    ]


@given(voters, voters, st.sampled_from(JointMode))
def test_neighbouring_memberships_cannot_decide_without_each_other(old, new, mode):
    # "There is no point during the transition where it is possible for two leaders to be elected
    # for the same term" (§6): any majorities of memberships that may be in force at once share a
    # node.
    assume(old != new)
    before = Membership(frozenset(old), frozenset(NAMES) - old)
    made = make(before, *changes_to(old, new), mode=mode)
    steps = [before, made, left(made)] if made.joint else [before, made]
    for one, next_one in pairwise(steps):
        for quorum in quorums(one):
            assert all(quorum & other for other in quorums(next_one))
    assert steps[-1].voters == frozenset(new)


@given(st.data())
def test_an_id_has_one_place_and_is_never_used_again(data):
    membership, ever = of("abc"), set("abc")
    choices = [AddLearner, AddVoter, Promote, Demote, Remove]
    for _ in range(data.draw(st.integers(1, 12))):
        names = data.draw(st.lists(st.sampled_from("abcdefg"), unique=True, max_size=3))
        wanted = [data.draw(st.sampled_from(choices))(name) for name in names]
        mode = data.draw(st.sampled_from(JointMode))
        try:
            made = changed(membership, wanted, mode, lambda _: True)
        except ChangeRefused:
            continue
        for step in (made, left(made)) if made.joint else (made,):
            assert not step.voters & step.learners
            assert not step.removed & step.members
            assert step.learners_next <= step.voters_outgoing - step.voters
            assert step.witnesses <= step.members
            assert decode_membership(encode_membership(step)) == step
            assert step.removed >= membership.removed
            membership = step
        ever |= set(membership.members)
        assert membership.members | membership.removed == ever


@given(*[st.sets(st.sampled_from(NAMES))] * 4, voters, st.booleans())
def test_memberships_come_back_as_they_went_in(learners, outgoing, witnesses, gone, names, auto):
    ever_voted = names | outgoing
    membership = Membership(
        voters=frozenset(names),
        learners=frozenset(learners - ever_voted),
        voters_outgoing=frozenset(outgoing),
        learners_next=frozenset(learners & outgoing),
        witnesses=frozenset(witnesses - ever_voted),
        auto_leave=auto,
        removed=frozenset(gone - learners - ever_voted),
    )
    assert decode_membership(encode_membership(membership)) == membership


def test_memberships_written_by_earlier_versions_are_read():
    encoded = pb.Membership(voters=["a"], learners=["b"], voters_outgoing=["c"])
    assert decode_membership(encoded.SerializeToString()) == of("a", "b", "c")
