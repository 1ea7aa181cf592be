"""A cluster in memory for scripts that decide about every message, write and tick themselves.

Nothing happens by itself: what a member sends stays where it is until it is delivered, dropped, or
delivered again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from raftcore import (
    Config,
    Entry,
    EntryKind,
    HardState,
    Membership,
    RaftCore,
    Role,
    Send,
)
from raftcore.codec import encode_membership
from raftcore.messages import (
    AppendEntriesResponse,
    HeartbeatResponse,
    PreVoteResponse,
    RequestVoteResponse,
)
from raftcore.recording import Trace
from raftcore.storage import MemoryLog
from tests.core.driven import Member

ELECTION_MS = 1000
HEARTBEAT_MS = 150


def entry(index: int, term: int, data: bytes = b"", kind: EntryKind = EntryKind.COMMAND) -> Entry:
    return Entry(index, term, kind, 0, data)


def log_of(*terms: int) -> list[Entry]:
    """A log with these terms, as the paper draws them; the first entry is the membership."""
    return [entry(i, term, b"%d" % i) for i, term in enumerate(terms, 1)]


def member(
    name: str = "a",
    voters: str = "abc",
    *,
    entries: list[Entry] | None = None,
    term: int | None = None,
    voted_for: str | None = None,
    applied_index: int = 0,
    seed: int = 1,
    now_ms: int = 0,
    learners: str = "",
    slow_disk: bool = False,
    **config: Any,
) -> Member:
    """A node as it starts from this disk; its term is that of its last entry unless told."""
    disk = MemoryLog()
    entries = entries or []
    if term is None:
        term = entries[-1].term if entries else 0
    disk.append(HardState(term, voted_for), entries)
    node = start(name, disk, voters, applied_index, seed, now_ms, learners, **config)
    node.slow_disk = slow_disk
    return node


def start(
    name: str,
    disk: MemoryLog,
    voters: str = "abc",
    applied_index: int = 0,
    seed: int = 1,
    now_ms: int = 0,
    learners: str = "",
    trace: Trace | None = None,
    **config: Any,
) -> Member:
    """Start, or start again, from a disk."""
    core = RaftCore(
        Config(name, election_timeout_ms=ELECTION_MS, heartbeat_ms=HEARTBEAT_MS, **config),
        disk,
        hard_state=disk.hard_state,
        bootstrap=Membership(frozenset(voters), frozenset(learners)),
        applied_index=applied_index,
        rng=random.Random(f"{name}{seed}"),
        now_ms=now_ms,
        trace=trace,
    )
    return Member(name, disk, core, now_ms)


def candidate(name: str = "a", voters: str = "abc", **options: Any) -> Member:
    """A node that has just won its pre-vote and asks for votes; alone it wins at once."""
    node = member(name, voters, **options)
    node.tick()
    for voter in voters:
        if voter != name and node.role is Role.PRE_CANDIDATE:
            node.receive(PreVoteResponse(node.core.current_term + 1, voter, granted=True))
    assert node.role is Role.CANDIDATE or voters == name
    return node


def leader(name: str = "a", voters: str = "abc", *, settled: bool = True, **options: Any) -> Member:
    """A node that has just been elected; unless told, everybody then holds its whole log."""
    node = candidate(name, voters, **options)
    for voter in voters:
        if voter != name and node.role is Role.CANDIDATE:
            node.receive(RequestVoteResponse(node.core.current_term, voter, granted=True))
    assert node.role is Role.LEADER
    if settled:
        for voter in voters.replace(name, ""):
            acknowledge(node, voter)
        node.take()
    return node


def acknowledge(node: Member, follower: str, match_index: int | None = None) -> None:
    """A follower's success, in the session of the last append to it."""
    session = max(
        p.session for name, p in node.core._node.leading.progress.items() if name == follower
    )
    index = node.core.last_index if match_index is None else match_index
    node.receive(AppendEntriesResponse(node.core.current_term, follower, session, True, index))


def answer_heartbeat(node: Member, follower: str) -> None:
    """Answer the leader's newest heartbeat."""
    leading = node.core._node.leading
    node.receive(HeartbeatResponse(node.core.current_term, follower, leading.sequence))


class Cluster:
    """Several members and the messages between them."""

    def __init__(self, names: str = "abc", *, seed: int = 1, **config: Any) -> None:
        self.members = {n: member(n, names, seed=seed, **config) for n in names}
        self.now_ms = 0
        self.cut: set[str] = set()
        self.lose: Callable[[str, Send], bool] = lambda sender, send: False

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def settle(self, rounds_max: int = 1000) -> None:
        """Deliver until nothing is under way."""
        for _ in range(rounds_max):
            if not self.deliver_once():
                return
        raise AssertionError("messages without end")

    def deliver_once(self) -> bool:
        """Deliver what is under way now; whether there was anything."""
        batch = []
        for name, node in self.members.items():
            node.pump()
            batch += [(name, send) for send in node.sent]
            node.sent = []
        for sender, send in batch:
            if not (self.cut & {sender, send.to} or self.lose(sender, send)):
                target = self.members[send.to]
                target.core.receive(send.message, self.now_ms)
        for node in self.members.values():
            node.pump()
        return bool(batch)

    def run(self, until: Callable[[], bool], limit_ms: int = 60_000) -> None:
        """Let time pass, from timer to timer, until something is so."""
        end_ms = self.now_ms + limit_ms
        self.settle()
        while not until():
            due = [t for n in self.members.values() if (t := n.core.next_timer()) is not None]
            self.now_ms = max(self.now_ms, min(due))
            assert self.now_ms <= end_ms, "it never came to be"
            for node in self.members.values():
                node.now_ms = self.now_ms
                if (at_ms := node.core.next_timer()) is not None and at_ms <= self.now_ms:
                    node.core.handle_timer(self.now_ms)
            self.settle()

    def run_for(self, duration_ms: int) -> None:
        end_ms = self.now_ms + duration_ms
        self.run(lambda: self.now_ms >= end_ms)

    @property
    def leaders(self) -> list[Member]:
        return [node for node in self.members.values() if node.role is Role.LEADER]

    def elect(self) -> Member:
        """Wait for a leader whom all that are connected follow."""
        connected = [node for name, node in self.members.items() if name not in self.cut]

        def agreed() -> bool:
            names = {node.core.leader for node in connected}
            return len(names) == 1 and None not in names and not names & self.cut

        self.run(agreed)
        return self.members[connected[0].core.leader]  # type: ignore[index]

    def restart(self, node: Member) -> None:
        """Restart a member from its disk."""
        self.members[node.name] = start(
            node.name,
            node.disk,
            "".join(self.members),
            node.core.applied_index,
            seed=2,
            now_ms=self.now_ms,
        )


def membership_entry(index: int, term: int, voters: str) -> Entry:
    data = encode_membership(Membership(frozenset(voters)))
    return entry(index, term, data, EntryKind.MEMBERSHIP)
