"""Outcomes: kept as long as a duplicate could come, forgotten at the same index everywhere."""

from __future__ import annotations

from raftdjango.applier import OUTCOME_GRACE_MS, stored_outcome
from raftdjango.applier.outcomes import PRUNE_EVERY
from raftdjango.writeset import Barrier, Verdict, VerdictKind, WriteSet

APPLIED = Verdict(VerdictKind.APPLIED)


def test_outcomes_are_pruned_at_fixed_indexes(replica):
    node = replica()
    node.submit(node.wrap(Barrier(), expires_at_ms=node.time_ms, proposal_id=b"old"))
    node.time_ms += OUTCOME_GRACE_MS
    node.submit(node.wrap(Barrier(), expires_at_ms=node.time_ms + 1000, proposal_id=b"young"))
    node.batch([None] * (PRUNE_EVERY - 1 - node.applier.state.applied_index))
    assert stored_outcome(node.connection, b"old") == (APPLIED, 1)
    node.submit(None)
    assert node.applier.state.applied_index == PRUNE_EVERY
    assert stored_outcome(node.connection, b"old") is None
    assert stored_outcome(node.connection, b"young") == (APPLIED, 2)


def test_a_duplicate_after_pruning_is_expired(replica):
    node = replica()
    command = node.wrap(Barrier(), expires_at_ms=node.time_ms, proposal_id=b"old")
    assert node.submit(command) == APPLIED
    node.time_ms += OUTCOME_GRACE_MS
    node.batch([None] * PRUNE_EVERY)
    assert node.submit(command).kind == VerdictKind.EXPIRED
    assert stored_outcome(node.connection, b"old") is None, "nothing that contradicts the first"


def test_a_write_set_that_never_expires_is_never_forgotten(replica):
    node = replica()
    node.submit(node.wrap(WriteSet(0, ()), expires_at_ms=0, proposal_id=b"write"))
    node.submit(node.wrap(Barrier(), expires_at_ms=0, proposal_id=b"barrier"))
    node.time_ms += 100 * OUTCOME_GRACE_MS
    node.batch([None] * PRUNE_EVERY)
    assert stored_outcome(node.connection, b"write") == (APPLIED, 1)
    assert stored_outcome(node.connection, b"barrier") is None
