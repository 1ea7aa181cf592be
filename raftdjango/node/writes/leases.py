"""Auto-increment keys that this node holds for its workers: leased through the log, given in blocks.

A lease is a range that the applier reserved, on every node alike, when it met the KeyLease command;
nobody else is ever given a key of it.  What is left when the process ends is lost: keys are unique
and never reused, not dense.  Sizes adapt: a lease that is used up quickly is followed by a larger
one, so that a stream of creates pays for a lease now and then, and a rare create wastes few keys.

Statements may reset the sequence of a table, or make another table of the same name: then the same
keys are leased once more, to whoever asks first.  So a lease is void behind the next entry with
statements.  The node forgets what is void when its applier has told of such an entry; a worker whose
database shows that entry already asks for keys that were leased behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raftdjango.applier.keys import NO_KEYS_LEFT
from raftdjango.client import proposal_ids
from raftdjango.node.limits import (
    KEY_BLOCK_COUNT_MAX,
    KEY_LEASE_COUNT_MAX,
    KEY_LEASE_COUNT_MIN,
    KEY_TABLES_MAX,
)
from raftdjango.node.writes.proposals import Reason, Refusal
from raftdjango.writeset import Command, KeyLease, VerdictKind, encode_command

if TYPE_CHECKING:
    from raftdjango.applier import Applied
    from raftdjango.node.writes.proposals import Proposals
    from raftdjango.writeset import Verdict

FAST_S = 2.0
"""A lease used up sooner is followed by one of twice the size."""
SLOW_S = 60.0
"""A lease that lasts longer is followed by one of half the size."""
REFILL_TIMEOUT_S = 10.0
LEASES_MAX = 64
"""Of a table.  More are what keys left to SQLite have overtaken; the oldest are given up."""

Given = Callable[["range | Refusal"], None]


@dataclass(slots=True)
class _Lease:
    keys: range
    index: int
    """Of its entry."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    count: int
    after: int
    above: int
    deadline: float
    given: Given


@dataclass(slots=True)
class _Table:
    name: str
    leases: list[_Lease] = field(default_factory=list)
    newest: _Lease | None = None
    """The one made last, used up or not."""
    lease_count: int = KEY_LEASE_COUNT_MIN
    leased_at: float = 0.0
    """0: nothing is known of how quickly the last lease was used up."""
    asking: bool = False
    waiters: list[_Waiter] = field(default_factory=list)

    @property
    def left(self) -> int:
        return sum(len(lease.keys) for lease in self.leases)

    def adapt(self, now: float) -> None:
        """Size the next lease by how long the last one lasted."""
        lasted = now - self.leased_at
        if self.leased_at and lasted < FAST_S:
            self.lease_count = min(self.lease_count * 2, KEY_LEASE_COUNT_MAX)
        elif self.leased_at and lasted > SLOW_S:
            self.lease_count = max(self.lease_count // 2, KEY_LEASE_COUNT_MIN)

    def forget_until(self, index: int) -> None:
        """Statements were applied there."""
        if self.leases and self.leases[0].index <= index:
            self.leases = [lease for lease in self.leases if lease.index > index]
            self.leased_at = 0.0  # How long it would have lasted nobody knows.


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

    def take(self, name: str, count: int, *, after: int = 0) -> range | None:
        """Up to `count` keys, at once, or None; what runs low is leased anew in the background."""
        table = self._table(name)
        if table is None or count < 1:
            return None
        table.forget_until(after)
        block = None
        if table.leases:
            block = self._cut(table, 0, min(count, len(table.leases[0].keys)))
        if table.left < max(table.lease_count // 2, min(count, KEY_BLOCK_COUNT_MAX)):
            self._ask(table, count, self._now() + REFILL_TIMEOUT_S)
        return block

    def lease(
        self,
        name: str,
        count: int,
        *,
        deadline: float,
        given: Given,
        after: int = 0,
        above: int = 0,
    ) -> None:
        """`count` keys in one block (or the largest block there is), from the log if need be.

        Of a lease made behind entry `after`, and larger than `above` if the table has such a key: a
        worker that has not yet committed one gets others, and sees that.
        """
        table = self._table(name)
        count = min(count, KEY_BLOCK_COUNT_MAX)
        if table is None or count < 1:
            given(Refusal(Reason.BUSY, f"{count} keys of {name!r}: out of bounds"))
            return
        if (block := self._block(table, count, after, above)) is not None:
            given(block)
            return
        table.waiters.append(_Waiter(count, after, above, deadline, given))
        self._ask(table, count, deadline)

    def on_schema(self, version: int) -> None:
        """This is the last entry with statements that was applied here: older leases are void."""
        if version > self._schema_version:
            self._schema_version = version
            for table in self._tables.values():
                table.forget_until(version)

    def _table(self, name: str) -> _Table | None:
        table = self._tables.get(name)
        # A lease for no name is a command that no node could apply.
        if table is None and name and len(self._tables) < KEY_TABLES_MAX:
            table = self._tables[name] = _Table(name)
        return table

    def _block(self, table: _Table, count: int, after: int, above: int) -> range | None:
        table.forget_until(after)
        for position, lease in enumerate(table.leases):
            if len(lease.keys) >= count and lease.keys.start > above:
                return self._cut(table, position, count)
        return None

    def _cut(self, table: _Table, position: int, count: int) -> range:
        lease = table.leases[position]
        keys, lease.keys = lease.keys[:count], lease.keys[count:]
        if not lease.keys:
            del table.leases[position]
        return keys

    def _ask(self, table: _Table, count: int, deadline: float) -> None:
        """Propose a lease, unless one is under way; those who came meanwhile share the next."""
        if table.asking:
            return
        table.asking = True
        now = self._now()
        wanted, waiting = sum(waiter.count for waiter in table.waiters), len(table.waiters)
        if waiting and table.left >= wanted and table.leases[-1] is table.newest:
            # For want of larger keys, not of more: others have used such.  They may again.
            size = max(wanted, KEY_LEASE_COUNT_MIN)
        else:
            table.adapt(now)
            size = max(table.lease_count, wanted, min(count, KEY_BLOCK_COUNT_MAX))
        patience_ms = int((deadline - now) * 1000) + 1000
        proposal_id = proposal_ids.next()
        expires_at_ms = self._cluster_time_ms() + 2 * patience_ms
        command = Command(proposal_id, expires_at_ms, KeyLease(table.name, size))
        self._proposals.submit(
            proposal_id,
            encode_command(command),
            deadline=deadline,
            settled=lambda end: self._leased(table, size, waiting, end),
        )

    def _leased(self, table: _Table, size: int, waiting: int, end: Applied | Refusal) -> None:
        """A lease of so many keys, which so many were waiting for when it was asked for, has ended."""
        table.asking = False
        refusal = _why_not(table.name, end)
        table.leased_at = 0.0
        if refusal is None:
            assert not isinstance(end, Refusal)
            assert end.verdict is not None
            table.leased_at = self._now()
            first = end.verdict.first_key
            table.newest = _Lease(range(first, first + size), end.index)
            table.leases = [*table.leases[1 - LEASES_MAX :], table.newest]
            table.forget_until(self._schema_version)
        waiters, table.waiters = table.waiters, []
        now = self._now()
        for position, waiter in enumerate(waiters):
            block = self._block(table, waiter.count, waiter.after, waiter.above)
            if block is None and refusal is None and position < waiting:
                # A new lease lies above all keys in use: who wants more than that waits in vain.
                block = self._block(table, waiter.count, waiter.after, 0)
            if block is not None:
                waiter.given(block)
            elif refusal is not None or waiter.deadline <= now:
                late = Refusal(Reason.UNAVAILABLE, "No keys could be leased in time.")
                waiter.given(refusal or late)
            else:
                table.waiters.append(waiter)
        if table.waiters:
            self._ask(table, 0, max(waiter.deadline for waiter in table.waiters))


def _why_not(name: str, end: Applied | Refusal) -> Refusal | None:
    if isinstance(end, Refusal):
        if end.reason is Reason.UNCERTAIN:
            # A lease made all the same is a gap in the keys, nothing worse.
            return Refusal(Reason.UNAVAILABLE, f"No keys of {name!r} could be leased in time.")
        return end
    if end.verdict is None or end.verdict.kind is not VerdictKind.APPLIED:
        return _never(name, end.verdict)
    return None


def _never(name: str, verdict: Verdict | None) -> Refusal:
    """The database has refused: asking again would not help."""
    kind = verdict.kind if verdict else None
    why = verdict.message if verdict else "no verdict"
    if kind is not VerdictKind.OPERATIONAL_ERROR:
        return Refusal(Reason.UNAVAILABLE, f"No keys of {name!r} could be leased: {why}")
    if why.endswith(NO_KEYS_LEFT):
        why += (
            ": a row has, or had, a key next to the largest that SQLite knows. Nothing was written. Give "
            "rows keys of your own, or remove that row and lower the table's number in sqlite_sequence."
        )
    return Refusal(Reason.NOT_POSSIBLE, why)
