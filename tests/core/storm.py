"""A cluster with witnesses in which everything fails that may, and what it has acknowledged."""

from __future__ import annotations

import random
from collections.abc import Iterator

from raftcore import (
    EntryKind,
    NotLeader,
    ProposalRefused,
    Role,
)
from tests.core.changing import WitnessedCluster
from tests.core.cluster import (
    ELECTION_MS,
    Member,
)


class Storm:
    """Writes, losses, crashes and cuts at random; `check` after every step."""

    def __init__(self, voters: str, witnesses: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cluster = WitnessedCluster(voters, witnesses, seed=seed)
        self.cluster.lose = lambda sender, send: self.rng.random() < self.loss
        self.loss = 0.1
        self.down: dict[str, Member] = {}
        self.proposed: dict[tuple[int, int], bytes] = {}
        self.acknowledged: dict[int, tuple[int, bytes]] = {}
        self.led: set[tuple[str, int]] = set()

    @property
    def up(self) -> Iterator[Member]:
        return (n for n in self.cluster.members.values() if n.name not in self.down)

    def step(self, number: int) -> None:
        rng, cluster = self.rng, self.cluster
        action = rng.random()
        if action < 0.25:
            self._propose(b"%d" % number)
        elif action < 0.29:
            self._crash(rng.choice(sorted(cluster.members)))
        elif action < 0.34 and self.down:
            self._restart(rng.choice(sorted(self.down)))
        elif action < 0.38:
            self.loss = rng.choice((0, 0.1, 0.5))
        elif action < 0.5:
            self._pass_time(rng.randrange(ELECTION_MS // 2))
        else:
            cluster.cut = set(self.down)
            cluster.deliver_once()
        self.check()

    def _propose(self, data: bytes) -> None:
        for node in list(self.up):
            if node.role is Role.LEADER:
                try:
                    self.proposed[node.propose(data)] = data
                except (NotLeader, ProposalRefused):
                    continue

    def _crash(self, name: str) -> None:
        if name not in self.down:
            self.down[name] = self.cluster[name]

    def _restart(self, name: str) -> None:
        self.cluster.restart(self.down.pop(name))

    def _pass_time(self, duration_ms: int) -> None:
        self.cluster.now_ms += duration_ms
        for node in list(self.up):
            node.tick(self.cluster.now_ms)

    def check(self) -> None:
        for node in self.up:
            if node.name in self.cluster.witnesses:
                continue
            assert all(e.kind is not EntryKind.WITNESSED for e in node.entries())
            for one in node.applied:
                if self.proposed.get((one.index, one.term)) is not None:
                    known = self.acknowledged.setdefault(one.index, (one.term, one.data))
                    assert known == (one.term, one.data), "State Machine Safety (paper §5.4.3)"
                    assert one.data == self.proposed[one.index, one.term]
            if node.role is Role.LEADER and (node.name, node.core.current_term) not in self.led:
                self.led.add((node.name, node.core.current_term))
                log = {e.index: (e.term, e.data) for e in node.entries()}
                for index, wanted in self.acknowledged.items():
                    assert log.get(index) == wanted, "Leader Completeness (paper §5.4)"

    def end(self) -> None:
        """Everybody comes back, and has all that was acknowledged."""
        for name in sorted(self.down):
            self._restart(name)
        cluster, self.loss, cluster.cut = self.cluster, 0, set()
        data = [name for name in cluster.voters if name not in cluster.witnesses]
        cluster.elect()
        self._propose(b"last")
        cluster.run(lambda: all(cluster[name].applied[-1].data == b"last" for name in data))
        self.check()
        for name in data:
            applied = {e.index: (e.term, e.data) for e in cluster[name].applied}
            assert self.acknowledged.items() <= applied.items()
