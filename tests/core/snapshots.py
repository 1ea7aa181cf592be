"""Members that keep snapshots, and clusters of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raftcore import Entry, Role, SendSnapshot, SnapshotMeta
from raftcore.messages import (
    AppendEntriesResponse,
    PreVoteResponse,
    RequestVoteResponse,
    Snapshot,
)
from raftcore.state.progress import Progress
from tests.core.changing import ChangingCluster, of
from tests.core.cluster import acknowledge, leader, log_of, member, start
from tests.core.driven import Member

ON: dict[str, Any] = {"snapshots": True, "snapshot_log_bytes": 0, "snapshot_trailing_entries": 0}
"""Snapshots when the script takes them, and nothing kept before them."""


def meta(index: int, term: int = 1, voters: str = "abc", **fields: Any) -> SnapshotMeta:
    fields.setdefault("time_ms", 0)
    fields.setdefault("membership", of(voters))
    return SnapshotMeta(index, term, **fields)


def snapshot(
    index: int, term: int = 1, *, of_term: int | None = None, by: str = "b", **fields: Any
) -> Snapshot:
    """What leader `by` of `term` sends; the snapshot's last entry is of that term unless told."""
    stands_for = meta(index, term if of_term is None else of_term, **fields)
    return Snapshot(term, by, 7, stands_for)


def follower(*terms: int, term: int = 2, **options: Any) -> Member:
    """A node that has this log, and has applied the first of its entries."""
    options.setdefault("applied_index", min(len(terms), 1))
    return member("a", entries=log_of(*terms), term=term, **ON | options)


def compacted(entries: int = 6, **options: Any) -> Member:
    """Leader `a` whose log of so many entries is all in a snapshot; `b` holds only the first."""
    node = leader(**ON | options)
    for _ in range(entries - 1):
        node.propose(b"x")
    acknowledge(node, "c")
    node.take_snapshot()
    node.take()
    assert node.core._node.log.first_index == entries + 1
    return node


def elected(node: Member, voters: str) -> Member:
    """It wins an election with these votes."""
    node.tick()
    for name in voters:
        if node.role is Role.PRE_CANDIDATE:
            node.receive(PreVoteResponse(node.core.current_term + 1, name, granted=True))
    for name in voters:
        if node.role is Role.CANDIDATE:
            node.receive(RequestVoteResponse(node.core.current_term, name, granted=True))
    assert node.role is Role.LEADER
    return node


def lags(node: Member, follower: str = "b", index: int = 1, term: int = 1) -> None:
    """A follower says that it has no more than this."""
    progress = progress_of(node, follower)
    rejected = progress.next_index - 1
    node.receive(
        AppendEntriesResponse(
            *(node.core.current_term, follower, progress.session, False),
            *(0, rejected, index, term),
        )
    )


def sending(node: Member) -> SendSnapshot:
    """The one snapshot that it has begun to send."""
    (effect,) = node.to_send
    return effect


def compacted_and_sending(**options: Any) -> Member:
    node = compacted(**options)
    lags(node)
    assert sending(node).to == "b"
    return node


def progress_of(node: Member, follower: str = "b") -> Progress:
    return node.core._node.leading.progress[follower]


def report(node: Member, effect: SendSnapshot, *, ok: bool = True) -> None:
    node.core.snapshot_sent(effect.to, effect.message, node.now_ms, ok=ok)
    node.pump()


class SnapshotCluster(ChangingCluster):
    """Members that take snapshots when asked, and send and install them."""

    def __init__(self, names: str = "abc", *, seed: int = 1, **config: Any) -> None:
        self.config = {"snapshots": True, "snapshot_log_bytes": 1000} | config
        self.config.setdefault("snapshot_trailing_entries", 2)
        super().__init__(names, seed=seed, **self.config)
        self.sent = 0
        self.stuck: set[str] = set()
        """Snapshots to these stay on their way."""

    def deliver_once(self) -> bool:
        busy = super().deliver_once()
        for node in self.members.values():
            if node.wanted:
                node.take_snapshot()
                busy = True
            for effect in [one for one in node.to_send if one.to not in self.stuck]:
                node.to_send.remove(effect)
                self.carry(node, effect)
                busy = True
        return busy

    def carry(self, sender: Member, effect: SendSnapshot) -> None:
        """Bring a snapshot to its end."""
        arrives = not self.cut & {sender.name, effect.to}
        if arrives:
            self.sent += 1
            state = sender.snapshots[effect.message.meta.index]
            self[effect.to].now_ms = self.now_ms
            self[effect.to].snapshot_arrives(effect.message, state)
        sender.now_ms = self.now_ms
        report(sender, effect, ok=arrives)

    def write(self, count: int, size: int = 100) -> None:
        for _ in range(count):
            self.leader.propose(b"x" * size)
            self.settle()

    def restart(self, node: Member) -> None:
        """From its disk; its state machine is as it was."""
        again = start(
            node.name,
            node.disk,
            "".join(self.members),
            node.core.applied_index,
            seed=2,
            now_ms=self.now_ms,
            **self.config,
        )
        again.applied, again.snapshots = node.applied, node.snapshots
        self.members[node.name] = again

    def states(self) -> list[Sequence[Entry]]:
        return [node.applied for node in self.members.values()]
