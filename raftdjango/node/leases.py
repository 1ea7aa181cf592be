"""Auto-increment keys that this node holds for its workers: leased through the log, given in blocks.

A lease is a range that the applier reserved, on every node alike, when it met the KeyLease command;
nobody else is ever given a key of it.  What is left when the process ends is lost: keys are unique
and never reused, not dense.  Sizes adapt: a lease that is used up quickly is followed by a larger
one, so that a stream of creates pays for a lease now and then, and a rare create wastes few keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raftdjango.client import proposal_ids
from raftdjango.node.limits import (
    KEY_BLOCK_COUNT_MAX,
    KEY_LEASE_COUNT_MAX,
    KEY_LEASE_COUNT_MIN,
    KEY_TABLES_MAX,
)
from raftdjango.node.proposals import Reason, Refusal
from raftdjango.writeset import Command, KeyLease, VerdictKind, encode_command

if TYPE_CHECKING:
    from raftdjango.applier import Applied
    from raftdjango.node.proposals import Proposals

FAST_S = 2.0
"""A lease used up sooner is followed by one of twice the size."""
SLOW_S = 60.0
"""A lease that lasts longer is followed by one of half the size."""
REFILL_TIMEOUT_S = 10.0

Given = Callable[["range | Refusal"], None]


@dataclass(slots=True)
class _Table:
    name: str
    ranges: list[range] = field(default_factory=list)
    lease_count: int = KEY_LEASE_COUNT_MIN
    leased_at: float = 0.0
    asking: bool = False
    waiters: list[tuple[int, float, Given]] = field(default_factory=list)
    """(count, deadline, given) of those who wait for a lease."""

    @property
    def left(self) -> int:
        return sum(map(len, self.ranges))


class Leases:
    """The node's leases of one group.  Lives on the loop."""

    def __init__(
        self,
        proposals: Proposals,
        *,
        cluster_time_ms: Callable[[], int],
        now: Callable[[], float],
    ) -> None:
        self._proposals = proposals
        self._cluster_time_ms = cluster_time_ms
        self._now = now
        self._tables: dict[str, _Table] = {}
        self._schema_version = 0

    def take(self, name: str, count: int) -> range | None:
        """Up to `count` keys, at once, or None; what runs low is leased anew in the background."""
        table = self._table(name)
        if table is None or count < 1:
            return None
        block = None
        if table.ranges:
            first = table.ranges[0]
            block = self._cut(table, 0, min(count, len(first)))
        if table.left < max(table.lease_count // 2, min(count, KEY_BLOCK_COUNT_MAX)):
            self._ask(table, count, self._now() + REFILL_TIMEOUT_S)
        return block

    def lease(self, name: str, count: int, *, deadline: float, given: Given) -> None:
        """`count` keys in one block (or the largest block there is), from the log if need be."""
        table = self._table(name)
        count = min(count, KEY_BLOCK_COUNT_MAX)
        if table is None or count < 1:
            given(Refusal(Reason.BUSY, f"{count} keys of {name!r}: out of bounds"))
            return
        if (block := self._block(table, count)) is not None:
            given(block)
            return
        table.waiters.append((count, deadline, given))
        self._ask(table, count, deadline)

    def on_schema(self, version: int) -> None:
        """After statements nothing is left of any lease.

        They may have reset the sequence of a table, or made another of the same name: then the same
        keys are leased once more, to whoever asks first.
        """
        if version != self._schema_version:
            self._schema_version = version
            for table in self._tables.values():
                table.ranges.clear()

    def _table(self, name: str) -> _Table | None:
        table = self._tables.get(name)
        # A lease for no name is a command that no node could apply.
        if table is None and name and len(self._tables) < KEY_TABLES_MAX:
            table = self._tables[name] = _Table(name)
        return table

    def _block(self, table: _Table, count: int) -> range | None:
        for position, keys in enumerate(table.ranges):
            if len(keys) >= count:
                return self._cut(table, position, count)
        return None

    def _cut(self, table: _Table, position: int, count: int) -> range:
        keys = table.ranges[position]
        if count == len(keys):
            del table.ranges[position]
        else:
            table.ranges[position] = keys[count:]
        return keys[:count]

    def _ask(self, table: _Table, count: int, deadline: float) -> None:
        """Propose a lease, unless one is under way; those who came meanwhile share the next."""
        if table.asking:
            return
        table.asking = True
        now = self._now()
        lasted = now - table.leased_at
        if table.leased_at and lasted < FAST_S:
            table.lease_count = min(table.lease_count * 2, KEY_LEASE_COUNT_MAX)
        elif table.leased_at and lasted > SLOW_S:
            table.lease_count = max(table.lease_count // 2, KEY_LEASE_COUNT_MIN)
        wanted = sum(waiter[0] for waiter in table.waiters)
        size = max(table.lease_count, wanted, min(count, KEY_BLOCK_COUNT_MAX))
        patience_ms = int((deadline - now) * 1000) + 1000
        proposal_id = proposal_ids.next()
        expires_at_ms = self._cluster_time_ms() + 2 * patience_ms
        command = Command(proposal_id, expires_at_ms, KeyLease(table.name, size))
        self._proposals.submit(
            proposal_id,
            encode_command(command),
            deadline=deadline,
            settled=lambda end: self._leased(table, size, end),
        )

    def _leased(self, table: _Table, size: int, end: Applied | Refusal) -> None:
        table.asking = False
        refusal = _why_not(table.name, end)
        if refusal is None:
            assert not isinstance(end, Refusal)
            assert end.verdict is not None
            table.leased_at = self._now()
            table.ranges.append(range(end.verdict.first_key, end.verdict.first_key + size))
        waiters, table.waiters = table.waiters, []
        now = self._now()
        for count, deadline, given in waiters:
            if (block := self._block(table, count)) is not None:
                given(block)
            elif refusal is not None or deadline <= now:
                given(refusal or Refusal(Reason.UNAVAILABLE, "No keys could be leased in time."))
            else:
                table.waiters.append((count, deadline, given))
        if table.waiters:
            self._ask(table, 0, max(deadline for _, deadline, _ in table.waiters))


def _why_not(name: str, end: Applied | Refusal) -> Refusal | None:
    if isinstance(end, Refusal):
        if end.reason is Reason.UNCERTAIN:
            # A lease made all the same is a gap in the keys, nothing worse.
            return Refusal(Reason.UNAVAILABLE, f"No keys of {name!r} could be leased in time.")
        return end
    if end.verdict is None or end.verdict.kind is not VerdictKind.APPLIED:
        message = end.verdict.message if end.verdict else "no verdict"
        return Refusal(Reason.UNAVAILABLE, f"No keys of {name!r} could be leased: {message}")
    return None
