"""All mistakes, in the order of the table in `docs/internals/raft-checklist.md`."""

from __future__ import annotations

from tests.mutants import (
    compaction,
    membership,
    protocol,
    reads,
    sequences,
    snapshots,
    storage,
)

MUTANTS = tuple(
    sorted(
        (
            *protocol.SIMULATED,
            *protocol.TESTED,
            *sequences.TESTED,
            *membership.TESTED,
            *reads.TESTED,
            *snapshots.TESTED,
            *compaction.TESTED,
            *storage.TESTED,
        ),
        key=lambda mutant: mutant.item or 1000,
    )
)
