"""From a speculation to the log: collect the write-set, give the lock back, propose, raise the verdict."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.db import IntegrityError, OperationalError

from raftdjango.backends.sqlite3.capture import journal
from raftdjango.client import proposal_ids
from raftdjango.conf import get_settings
from raftdjango.consistency.recording import note_commit, proposing
from raftdjango.exceptions import (
    ClusterUnavailable,
    ConstraintConflict,
    MigrationLockLost,
    TransactionConflict,
    TransactionTooLarge,
)
from raftdjango.naming import row_name
from raftdjango.writeset import Command, Verdict, VerdictKind, WriteSet, encode_command
from raftdjango.writeset.chosen_keys import keys_chosen

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.backends.sqlite3.statements.blind import BlindOperation
    from raftdjango.backends.sqlite3.transactions.block import Block
    from raftdjango.client import Outcome
    from raftdjango.writeset import Body, Operation

SCHEMA_CHANGED = (
    "The database's schema was changed while this transaction ran. "
    "Nothing was written; run it again."
)
MIGRATION_LOCK_LOST = (
    "This process' migration lock ran out, since it stood still or was cut off from the others for too "
    "long, and another migrate has had it since. Nothing of the present transaction was written."
)


@dataclass(frozen=True, slots=True)
class Unit:
    """What one transaction came to, apart from the connection that made it."""

    write_set: WriteSet
    applied_index: int
    """Of the snapshot that it was captured on."""


def collect(replication: Replication, *, blind: Operation | None = None) -> Unit | None:
    """The journal as a write-set; None if no row changed.  Call it before rolling back.

    `blind`: the one operation that says the same without a before-image.
    """
    speculation = replication.speculation
    block: Block = speculation.block
    with speculation.undisturbed():
        chosen = (keys_chosen(table, first) for table, first in block.keys_chosen.items())
        operations = (*chosen, *block.locked, *journal.operations(replication.capture))
        if not any(journal.changes_something(operation) for operation in operations):
            return None
        recorder = speculation.recorder
        write_set = WriteSet(
            schema_version=block.schema_version,
            operations=operations if blind is None else (blind,),
            foreign_keys_off=block.foreign_keys_off,
            reads=None if recorder is None else recorder.reads(block.applied_index),
        )
        return Unit(replication.verifiable(write_set), block.applied_index)


def propose(replication: Replication, unit: Unit) -> Verdict:
    """Propose a write-set and wait until it is applied here; the verdict, or what it raises."""
    outcome = propose_body(replication, unit.write_set)
    raise_verdict(outcome, nothing_between=outcome.log_index == unit.applied_index + 1)
    return outcome.verdict


def propose_blind(
    replication: Replication, operations: tuple[BlindOperation, ...]
) -> Verdict | None:
    """Have the applier execute the operations as one entry; the verdict, always an applied one.

    Several only for the rows of one INSERT; `Verdict.rows` has one row for each that returns.
    Raises `IntegrityError`, `TransactionConflict` and the rest of `raftdjango.exceptions`.
    None when the schema had moved: nothing was written, and the operations have to be made again
    for the table as it is now.  Call it in true autocommit only.
    """
    capture = replication.capture
    if replication.nested.active:
        replication.nested.settle()
        replication.speculation.start_writing()
        version = replication.schema_version()
    else:
        # Known without a look at the database: where it has moved on, the applier says so.
        pinned = capture.schema_version
        if pinned is None:
            return None
        version = pinned
        replication.check_keys(version)
    outcome = propose_body(replication, WriteSet(version, operations))
    verdict = outcome.verdict
    if verdict.kind is VerdictKind.CONFLICT and verdict.message == "schema":
        capture.schema_version = None
        return None
    raise_verdict(outcome)
    return verdict


def propose_body(replication: Replication, body: Body) -> Outcome:
    """Propose any command under a new id."""
    client = replication.client
    timeout_s = get_settings().commit_timeout_s
    proposal_id = proposal_ids.next()
    if isinstance(body, WriteSet):
        # By this id the leader knows whose turn it is.
        proposal_id = replication.turn or proposal_id
        if replication.fence:
            body = replace(body, fence=replication.fence)
    expires_at_ms = client.cluster_time_ms() + int(timeout_s * 2000)
    command = encode_command(Command(proposal_id, expires_at_ms, body))
    if len(command) > client.transaction_bytes_max:
        raise TransactionTooLarge(
            f"The transaction comes to {len(command):,} bytes and "
            f"RAFTDJANGO['TRANSACTION_BYTES_MAX'] is {client.transaction_bytes_max:,}. "
            "Nothing was written. Split it into several."
        )
    allocator = replication.allocator
    if proposal_id == replication.turn:
        # The proposal ends it.  Before here its taker would have to: nobody else waits for what failed.
        replication.turn = None
        replication.speculation.write_lock.turn_s = 0.0
    asked_at = time.monotonic()
    version = body.schema_version if isinstance(body, WriteSet) else None
    with proposing(proposal_id):
        outcome = replication.send(
            proposal_id,
            command,
            timeout_s=timeout_s,
            want_keys={} if version is None else allocator.wanted(),
            keys_after=version or 0,
        )
        if outcome.verdict.kind is VerdictKind.APPLIED:
            note_commit()
    if outcome.keys:
        allocator.feed(outcome.keys, version or 0)
    if isinstance(body, WriteSet):
        # Of other commands the node may have told before they were applied here.
        replication.freshness.wrote(outcome.log_index, asked_at)
        replication.commits += outcome.verdict.kind is VerdictKind.APPLIED
    return outcome


def raise_verdict(outcome: Outcome, *, nothing_between: bool = False) -> None:
    """Raise what a verdict other than `applied` means to the caller."""
    verdict = outcome.verdict
    kind = verdict.kind
    seen_at = outcome.winner_index or outcome.log_index
    if kind is VerdictKind.APPLIED:
        return
    if kind is VerdictKind.CONFLICT and verdict.message == "fence":
        raise MigrationLockLost(MIGRATION_LOCK_LOST)
    if kind is VerdictKind.CONFLICT:
        raise TransactionConflict(
            _conflict_message(verdict), table=verdict.table, key=verdict.key, log_index=seen_at
        )
    if kind is VerdictKind.INTEGRITY_ERROR:
        raise IntegrityError(verdict.message)
    if kind is VerdictKind.CONSTRAINT_CONFLICT:
        if nothing_between:
            # A deferred constraint, broken by this transaction alone: no other came in between.
            raise IntegrityError(verdict.message)
        raise ConstraintConflict(
            verdict.message, table=verdict.table, key=verdict.key, log_index=seen_at
        )
    if kind is VerdictKind.EXPIRED:
        raise ClusterUnavailable(
            "The write came to its place in the log after its deadline. Nothing was written."
        )
    raise OperationalError(verdict.message)


def _conflict_message(verdict: Verdict) -> str:
    if verdict.message == "read":
        return (
            f"What this serializable transaction had read in {row_name(verdict.table, ()) or 'the database'} was "
            "changed by another transaction that came first. Nothing was written; run it again."
        )
    if verdict.table:
        return (
            f"Another transaction changed {row_name(verdict.table, verdict.key)} first. "
            "Nothing was written; run it again."
        )
    if verdict.message == "schema":
        return SCHEMA_CHANGED
    return verdict.message or "Another transaction came first. Nothing was written; run it again."
