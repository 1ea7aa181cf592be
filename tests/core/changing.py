"""A cluster whose members come and go."""

from __future__ import annotations

import random
from typing import Any

import pytest

from raftcore import (
    Change,
    ChangeRefused,
    Config,
    EntryKind,
    JointMode,
    Membership,
    NotLeader,
    Promote,
    RaftCore,
    Remove,
)
from raftcore.codec import decode_membership
from raftcore.storage import MemoryLog
from tests.core.cluster import (
    ELECTION_MS,
    HEARTBEAT_MS,
    Cluster,
    Member,
    acknowledge,
    answer_heartbeat,
    leader,
    member,
)


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


def voter(
    name: str,
    voters: str,
    witnesses: str = "",
    *,
    disk: MemoryLog | None = None,
    applied_index: int = 0,
    seed: int = 1,
    now_ms: int = 0,
    **config: Any,
) -> Member:
    """A voter of a cluster some of whom keep no data, as it starts from this disk."""
    disk = disk or MemoryLog()
    core = RaftCore(
        Config(
            name,
            election_timeout_ms=ELECTION_MS,
            heartbeat_ms=HEARTBEAT_MS,
            witness=name in witnesses,
            **config,
        ),
        disk,
        hard_state=disk.hard_state,
        bootstrap=of(voters, witnesses=witnesses),
        applied_index=applied_index,
        rng=random.Random(f"{name}{seed}"),
        now_ms=now_ms,
    )
    return Member(name, disk, core, now_ms)


class WitnessedCluster(ChangingCluster):
    """Members some of whom keep no data."""

    def __init__(self, voters: str, witnesses: str, *, seed: int = 1) -> None:
        super().__init__("", seed=seed)
        self.voters, self.witnesses, self.seed = voters, witnesses, seed
        self.members = {name: voter(name, voters, witnesses, seed=seed) for name in voters}

    def restart(self, node: Member) -> None:
        """From its disk; what it had applied stays applied."""
        self.seed += 1
        again = voter(
            node.name,
            self.voters,
            self.witnesses,
            disk=node.disk,
            applied_index=node.core.applied_index,
            seed=self.seed,
            now_ms=self.now_ms,
        )
        again.applied = node.applied
        self.members[node.name] = again


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
    change(node, *changes, joint=JointMode.EXPLICIT)
    node.take()
    return node
