"""What the simulator's judges have in common."""

from __future__ import annotations

from collections.abc import Iterable

from raftcore import Entry, EntryKind, Membership


class Violation(AssertionError):
    """A promise was broken."""


def is_quorum(membership: Membership, names: Iterable[str]) -> bool:
    """The definition: more than half of each half that there is (paper §6)."""
    chosen = set(names)
    halves = (membership.voters, membership.voters_outgoing)
    return all(2 * len(half & chosen) > len(half) for half in halves if half)


def same(entry: Entry, known: Entry, *, witness: bool) -> bool:
    """Whether an entry is a known one, or what a witness keeps of it."""
    if entry is known or entry == known:
        return True
    return (
        witness
        and (entry.kind, known.kind) == (EntryKind.WITNESSED, EntryKind.COMMAND)
        and (entry.index, entry.term, entry.time_ms) == (known.index, known.term, known.time_ms)
        and not entry.data
    )
