"""A ground for proposals without a cluster: tests say what leader, log and applier do."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from raftdjango.applier import Applied
from raftdjango.node.consensus.applier_runner import AppliedBatch
from raftdjango.node.writes.intake import Placement, Refused
from raftdjango.node.writes.proposals import Proposals
from raftdjango.writeset import Verdict, VerdictKind


class Ground:
    """This node is `me`; what it appends and forwards is kept in lists."""

    def __init__(self) -> None:
        self.node_id = "me"
        self.leader: str | None = None
        self.term = 1
        self.applied_index = 0
        self.time = 100.0
        self.appended: list[bytes] = []
        self.forwarded: list[tuple[str, bytes]] = []
        self.refusal: Refused | None = None
        self.last_index = 0
        self.ends: dict[bytes, Any] = {}
        """What each proposal came to."""
        self.holder = ""
        """Whoever keeps the local applier from the write lock."""
        self.proposals = Proposals(
            self, now=lambda: self.time, rng=random.Random(1), held_up=lambda: self.holder
        )
        self.proposals.open()

    def append(self, proposal_id: bytes, command: bytes) -> Placement:
        if self.refusal is not None:
            return self.refusal
        self.appended.append(proposal_id)
        self.last_index += 1
        return self.last_index, self.term

    def forward(self, to: str, proposal_id: bytes, command: bytes) -> None:
        self.forwarded.append((to, proposal_id))

    def lead(self, leader: str | None, term: int) -> None:
        """A change of leader, as the core would report it."""
        self.leader, self.term = leader, term
        self.proposals.on_leader()

    def submit(self, name: bytes, command: bytes = b"command", timeout_s: float = 10.0) -> None:
        """Take a proposal; its end goes to `ends`."""

        def settled(end: Any) -> None:
            assert name not in self.ends, "settled twice"
            self.ends[name] = end

        self.proposals.submit(name, command, deadline=self.time + timeout_s, settled=settled)

    def apply(self, ids: Iterable[bytes | None], term: int | None = None) -> None:
        """The applier met these, from the next index on."""
        verdict = Verdict(VerdictKind.APPLIED)
        applied = []
        for proposal_id in ids:
            self.applied_index += 1
            made = None if proposal_id is None else verdict
            applied.append(Applied(self.applied_index, proposal_id, made, 0))
        self.last_index = max(self.last_index, self.applied_index)
        batch = AppliedBatch(applied, self.applied_index, term or self.term, b"c", ())
        self.proposals.on_applied(batch)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with sweeps as often as the node makes them."""
        end = self.time + seconds
        while self.time < end:
            self.time += 0.05
            self.proposals.sweep()
