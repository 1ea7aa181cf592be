"""A cluster whose members come and go."""

from __future__ import annotations

from typing import Any

from raftcore import Change, EntryKind, Membership, NotLeader
from raftcore.codec import decode_membership
from tests.core.cluster import ELECTION_MS, Cluster, Member, member


class ChangingCluster(Cluster):
    """`elected()` settles; members that join begin with no log and no idea of who takes part."""

    def join(self, *names: str, **config: Any) -> None:
        for name in names:
            self.members[name] = member(name, "", now_ms=self.now_ms, **config)

    def change(self, *changes: Change, **options: Any) -> tuple[int, int]:
        """Ask the leader, and let what follows happen."""
        node = self.leader
        placed = node.core.change_membership(changes, self.now_ms, **options)
        self.settle()
        return placed

    def catch_up(self, name: str) -> None:
        """Until a learner may become a voter."""

        def caught_up() -> bool:
            leading = self.leader.core._node.leading
            config = self.leader.core._node.config
            return leading.progress[name].caught_up(self.now_ms, config)

        self.run(caught_up)

    @property
    def leader(self) -> Member:
        """The one of the latest term."""
        if not self.leaders:
            raise NotLeader(None)
        return max(self.leaders, key=lambda node: node.core.current_term)

    def everywhere(self, expected: Membership, names: str) -> bool:
        """Whether these have this membership in force, and committed."""
        cores = [self[name].core for name in names]
        return all(
            core.membership == expected and core.commit_index >= core.membership_index
            for core in cores
        )

    def rest(self) -> None:
        """Until everybody has forgotten having heard a leader."""
        self.run_for(3 * ELECTION_MS)


def memberships(node: Member) -> list[Membership]:
    """Those in its log, in order."""
    return [
        decode_membership(one.data) for one in node.entries() if one.kind is EntryKind.MEMBERSHIP
    ]


def of(
    voters: str,
    learners: str = "",
    outgoing: str = "",
    *,
    learners_next: str = "",
    witnesses: str = "",
    removed: str = "",
    auto_leave: bool = False,
) -> Membership:
    """A membership of nodes with names of one letter."""
    return Membership(
        voters=frozenset(voters),
        learners=frozenset(learners),
        voters_outgoing=frozenset(outgoing),
        learners_next=frozenset(learners_next),
        witnesses=frozenset(witnesses),
        auto_leave=auto_leave,
        removed=frozenset(removed),
    )
