"""What must hold of snapshots and of logs that begin behind one (paper §7): part of the oracle.

The oracle knows every node's log as it would be had nothing ever been dropped: what a snapshot
covers is what was committed, and anything else that a node makes of it is a violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore import Compact, EntryKind, InstallSnapshot, SendSnapshot, SnapshotMeta
from raftcore.codec import decode_membership
from tests.sim.violation import Violation, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.sim.machine import Machine
    from tests.sim.reference import Reference


class SnapshotRules:
    """Judges what nodes do with snapshots, by what is committed."""

    def __init__(self, reference: Reference, leaders: Mapping[int, str]) -> None:
        self.reference = reference
        self._leaders = leaders

    def check_meta(self, machine: Machine, meta: SnapshotMeta) -> None:
        """A snapshot stands for what is committed, membership included."""
        if meta.index > len(self.reference.entries):
            raise Violation(f"{machine.id}: {meta} covers what is not committed")
        known = self.reference.meta(meta.index, meta.size)
        if meta != known:
            raise Violation(f"{machine.id}: {meta} should be {known}")

    def on_start(self, machine: Machine) -> None:
        """A node has started from what is on its disk."""
        self._check_beginning(machine)
        self.check_membership(machine)

    def check_membership(self, machine: Machine) -> None:
        """The membership in force is the last one in the log, dropped entries included."""
        index, membership = 0, machine.world.plan.membership
        for entry in reversed(machine.handed_out):
            if entry.kind is EntryKind.MEMBERSHIP:
                index, membership = entry.index, decode_membership(entry.data)
                break
        core = machine.core
        if (core.membership_index, core.membership) != (index, membership):
            raise Violation(
                f"{machine.id} goes by {core.membership} of {core.membership_index}, and its log "
                f"says {membership} at {index}"
            )

    def on_compact(self, machine: Machine, effect: Compact) -> None:
        """Entries go, and a snapshot stands for them."""
        meta, coverage = effect.meta, machine.world.coverage
        self.check_meta(machine, meta)
        if effect.through > meta.index:
            raise Violation(f"{machine.id} drops entries that no snapshot covers: {effect}")
        self._check_kept(machine, meta)
        if effect.through < machine.durable.first_index:
            return
        coverage["log compacted"] += 1
        if effect.through < meta.index:
            coverage["entries kept before a snapshot"] += 1
        members = sorted(machine.core.membership.members - {machine.id})
        behind = [
            name
            for name in members
            if name in machine.world.machines
            and machine.world.machines[name].durable.last_index < effect.through
        ]
        if machine.leads and behind:
            coverage["compaction leaves a follower behind"] += 1

    def on_install(self, machine: Machine, effect: InstallSnapshot) -> None:
        """A snapshot takes the place of a node's log."""
        meta, log, committed = effect.meta, machine.handed_out, self.reference.entries
        if effect.ticket != machine.last_ticket + 1:
            raise Violation(f"{machine.id}: ticket {effect.ticket} after {machine.last_ticket}")
        machine.last_ticket = effect.ticket
        self.check_meta(machine, meta)
        self._check_kept(machine, meta)
        if meta.term > machine.written_term:
            raise Violation(f"{machine.id} replaces its log by {meta} before it writes the term")
        if machine.leads:
            raise Violation(f"{machine.id} leads, and replaces its log by {meta}")
        if meta.index <= machine.seen_commit:
            raise Violation(f"{machine.id} falls back to {meta} from {machine.seen_commit}")
        if effect.skipped_from != machine.apply_released + 1:
            raise Violation(f"{machine.id} was handed {machine.apply_released}, then: {effect}")
        last = committed[meta.index - 1]
        if len(log) >= meta.index and same(log[meta.index - 1], last, witness=machine.witness):
            # "If existing log entry has same index and term as snapshot's last included entry,
            # retain log entries following it" (Figure 13).
            raise Violation(f"{machine.id} throws away what follows {meta}")
        self._count_install(machine, meta)
        log[:] = committed[: meta.index]
        machine.apply_released = meta.index

    def _count_install(self, machine: Machine, meta: SnapshotMeta) -> None:
        coverage, committed = machine.world.coverage, self.reference.entries
        tail = machine.handed_out[machine.seen_commit :]
        if tail:
            coverage["install over a longer log"] += 1
        if not all(
            same(entry, committed[entry.index - 1], witness=machine.witness)
            for entry in tail
            if entry.index <= meta.index
        ):
            coverage["install over a conflicting log"] += 1
        if machine.world.quiet:
            coverage["caught up by a snapshot after all faults"] += 1
        if machine.witness:
            coverage["snapshot installed by a witness"] += 1

    def on_election(self, machine: Machine) -> None:
        """A node leads: it has to be able to apply and to send what it has."""
        if machine.state.installing:
            raise Violation(f"{machine.id} leads with a snapshot half installed")

    def on_send(self, machine: Machine, effect: SendSnapshot) -> None:
        """A leader sends the state instead of entries."""
        message = effect.message
        if self._leaders.get(message.term) != machine.id or message.leader != machine.id:
            raise Violation(f"{machine.id} sends a snapshot without leading: {message}")
        if message.term > machine.durable.hard_state.current_term:
            raise Violation(f"{machine.id} sends {message} before its term is on disk")
        self.check_meta(machine, message.meta)
        receiver = machine.world.machines[effect.to]
        if receiver.witness:
            raise Violation(f"{machine.id} sends data to the witness {receiver.id}")
        if not receiver.durable.last_index:
            machine.world.coverage["snapshot sent to a new member"] += 1

    def after_sync(self, machine: Machine) -> None:
        """Something has become durable."""
        self._check_beginning(machine)

    def _check_beginning(self, machine: Machine) -> None:
        """What the log on disk does not hold a durable snapshot does."""
        log = machine.durable
        if log.snapshot is not None:
            self.check_meta(machine, log.snapshot)
            self._check_kept(machine, log.snapshot)
        elif log.first_index > 1:
            raise Violation(f"{machine.id}'s log begins at {log.first_index} behind nothing")

    def _check_kept(self, machine: Machine, meta: SnapshotMeta) -> None:
        shelf = machine.shelf
        newest = shelf.newest
        kept = newest is not None and newest.index >= meta.index
        if not (machine.witness or kept or shelf.lost):
            raise Violation(f"{machine.id} has no snapshot for {meta}")
