"""Memberships and quorums against their definitions, through any sequence of changes and votes."""

from __future__ import annotations

from itertools import chain, combinations

from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raftcore import (
    AddLearner,
    AddVoter,
    Change,
    ChangeRefused,
    Demote,
    JointMode,
    Membership,
    Promote,
    Remove,
)
from raftcore.changes import changed, left
from raftcore.codec import decode_membership, encode_membership
from raftcore.quorum import VoteResult, reached, vote_result

NAMES = "abcdefg"
names = st.sampled_from(NAMES)
changes = st.lists(
    st.one_of(
        st.builds(AddLearner, names, st.booleans()),
        st.builds(AddVoter, names, st.booleans()),
        *(st.builds(kind, names) for kind in (Promote, Promote, Demote, Remove)),
    ),
    max_size=4,
)


def is_quorum(membership: Membership, some: frozenset[str]) -> bool:
    halves = [half for half in (membership.voters, membership.voters_outgoing) if half]
    return all(2 * len(half & some) > len(half) for half in halves)


def subsets(of: frozenset[str]) -> list[frozenset[str]]:
    parts = chain.from_iterable(combinations(sorted(of), n) for n in range(len(of) + 1))
    return [frozenset(part) for part in parts]


class MembershipMachine(RuleBasedStateMachine):
    """`kinds` is the model: what each name is, once the joint configuration is left."""

    @initialize(voters=st.frozensets(names, min_size=1, max_size=5))
    def begin(self, voters: frozenset[str]) -> None:
        self.membership = Membership(voters)
        self.before = self.membership
        self.kinds = dict.fromkeys(voters, "voter")
        self.witnesses: set[str] = set()

    @precondition(lambda self: not self.membership.joint)
    @rule(
        wanted=changes,
        mode=st.sampled_from(JointMode),
        caught_up=st.one_of(st.just(frozenset(NAMES)), st.frozensets(names)),
    )
    def change(self, wanted: list[Change], mode: JointMode, caught_up: frozenset[str]) -> None:
        kinds, witnesses = dict(self.kinds), set(self.witnesses)
        allowed = bool(wanted) and len({c.id for c in wanted}) == len(wanted)
        for one in wanted:
            allowed = allowed and self.apply(one, kinds, witnesses, caught_up)
        voters = {name for name, kind in kinds.items() if kind == "voter"}
        majority = len(voters) // 2 + 1
        allowed = allowed and bool(voters) and len(voters & witnesses) < majority
        try:
            after = changed(self.membership, wanted, mode, caught_up.__contains__)
        except ChangeRefused as refused:
            assert not allowed, refused
            assert str(refused).endswith(".")
            return
        assert allowed
        altered = {name for name, kind in self.kinds.items() if kind == "voter"} ^ voters
        assert after.joint is (mode is not JointMode.AUTO or len(altered) > 1)
        assert after.auto_leave is (after.joint and mode is not JointMode.EXPLICIT)
        self.before, self.membership = self.membership, after
        self.kinds, self.witnesses = kinds, witnesses

    @staticmethod
    def apply(
        one: Change, kinds: dict[str, str], witnesses: set[str], caught_up: frozenset[str]
    ) -> bool:
        """Change the model; whether that is allowed."""
        kind = kinds.get(one.id)
        match one:
            case AddLearner():
                kinds[one.id] = "learner"
                if one.witness:
                    witnesses.add(one.id)
                return kind is None
            case AddVoter():
                kinds[one.id] = "voter"
                fits = one.witness is (one.id in witnesses)
                return kind == "learner" and fits and one.id in caught_up
            case Promote():
                kinds[one.id] = "voter"
                return kind == "learner" and one.id in caught_up
            case Demote():
                kinds[one.id] = "learner"
                return kind == "voter"
            case Remove():
                kinds[one.id] = "removed"
                witnesses.discard(one.id)
                return kind in ("voter", "learner")

    @precondition(lambda self: self.membership.joint)
    @rule()
    def leave(self) -> None:
        self.before, self.membership = self.membership, left(self.membership)
        assert not self.membership.joint

    @invariant()
    def any_two_quorums_of_neighbours_share_a_node(self) -> None:
        # What makes a change safe: two leaders of one term would need two that do not.
        everybody = self.before.members | self.membership.members
        for some in subsets(everybody):
            assert not (
                is_quorum(self.before, some) and is_quorum(self.membership, everybody - some)
            )

    @invariant()
    def everybody_is_what_the_changes_say(self) -> None:
        target = left(self.membership) if self.membership.joint else self.membership
        of = {
            "voter": target.voters,
            "learner": target.learners,
            "removed": target.removed,
        }
        for kind, found in of.items():
            assert found == {name for name, is_kind in self.kinds.items() if is_kind == kind}
        assert target.witnesses == self.witnesses

    @invariant()
    def nobody_is_two_things(self) -> None:
        m = self.membership
        assert not m.learners & (m.voters | m.voters_outgoing)
        assert not m.removed & m.members
        assert m.witnesses <= m.members
        assert m.learners_next <= m.voters_outgoing - m.voters
        assert m.joint or not (m.learners_next or m.auto_leave)

    @invariant()
    def it_survives_its_encoding(self) -> None:
        assert decode_membership(encode_membership(self.membership)) == self.membership


class ElectionMachine(RuleBasedStateMachine):
    """Votes come one by one, and match indexes rise; what is decided stays so."""

    @initialize(
        voters=st.frozensets(names, min_size=1),
        outgoing=st.one_of(st.just(frozenset()), st.frozensets(names)),
    )
    def begin(self, voters: frozenset[str], outgoing: frozenset[str]) -> None:
        self.membership = Membership(voters, voters_outgoing=outgoing)
        self.votes: dict[str, bool] = {}
        self.match = dict.fromkeys(NAMES, 0)
        self.result, self.level = VoteResult.PENDING, 0

    @rule(voter=names, granted=st.booleans())
    def vote(self, voter: str, granted: bool) -> None:
        assume(voter not in self.votes)
        self.votes[voter] = granted
        result = vote_result(self.membership, self.votes)
        assert self.result in (VoteResult.PENDING, result)
        self.result = result

    @rule(member=names, by=st.integers(1, 5))
    def advance(self, member: str, by: int) -> None:
        self.match[member] += by
        level = reached(self.membership, self.match.__getitem__)
        assert level >= self.level
        self.level = level

    @invariant()
    def by_definition(self) -> None:
        if not hasattr(self, "membership"):
            return
        yes = frozenset(n for n in NAMES if self.votes.get(n) is True)
        still = frozenset(n for n in NAMES if self.votes.get(n) is not False)
        won, lost = is_quorum(self.membership, yes), not is_quorum(self.membership, still)
        assert (self.result is VoteResult.WON) is won
        assert (self.result is VoteResult.LOST) is lost
        there = frozenset(n for n in NAMES if self.match[n] >= self.level)
        beyond = frozenset(n for n in NAMES if self.match[n] > self.level)
        assert is_quorum(self.membership, there)
        assert not is_quorum(self.membership, beyond)


TestMembership = MembershipMachine.TestCase
TestMembership.settings = settings(max_examples=150, stateful_step_count=20)
TestElection = ElectionMachine.TestCase
TestElection.settings = settings(max_examples=60, stateful_step_count=25)
