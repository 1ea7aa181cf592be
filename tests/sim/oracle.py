"""What must hold after every step, whatever happened: judged from outside, by what goes in and out.

The five properties of the paper (Figure 3):

    Election Safety         one leader per term                                    `after_input`
    Leader Append-Only      a leader never replaces entries of its log             `on_persist`
    Log Matching            equal index and term: equal entries and predecessors   `on_persist`
    Leader Completeness     what is committed is in the log of every later leader  `after_turn`
    State Machine Safety    nobody applies anything else at the same index         `on_apply`

and what the effects promise: nothing leaves a node, and nothing is applied, before what it depends
on is on that node's disk; an entry is committed only when a majority of disks hold it; cluster time
never falls and never outruns the clocks; an entry appears once.  Of snapshots `rules` judges.

Nothing here asks the core what it thinks of its own log: the log is known from `Persist` effects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from raftcore import Entry, EntryKind, HardState, Membership, Persist, Role
from raftcore.codec import decode_membership
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Message,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from tests.sim.reference import Reference
from tests.sim.rules import SnapshotRules
from tests.sim.violation import Violation, is_quorum, same

if TYPE_CHECKING:
    from tests.sim.machine import Machine

CLOCK_RATE_MAX = 1.06


class Oracle:
    """Everything that was ever promised by anybody."""

    def __init__(self, coverage: Counter[str], bootstrap: Membership) -> None:
        self.machines: Mapping[str, Machine] = {}
        self.reference = Reference(bootstrap)
        self.committed = self.reference.entries
        self.leaders: dict[int, str] = {}
        self._commit_terms: list[int] = []
        """In which term each of them was committed."""
        self._coverage = coverage
        self._entries: dict[tuple[int, int], tuple[Entry, int]] = {}
        """By index and term: the entry, and the term before it."""
        self._votes: dict[tuple[str, int], str] = {}
        self._candidates: dict[int, str] = {}
        self.proposed: dict[bytes, tuple[int, int]] = {}
        self._committed_data: set[bytes] = set()
        self.snapshots = SnapshotRules(self.reference, self.leaders)

    # ------------------------------------------------------------------ after each input

    def after_input(self, machine: Machine) -> None:
        """One node has taken one input."""
        core = machine.core
        term = core.current_term
        if term < machine.seen_term:
            raise Violation(f"{machine.id}: term fell from {machine.seen_term} to {term}")
        machine.seen_term = term
        commit_index = core.commit_index
        if commit_index < machine.seen_commit:
            raise Violation(f"{machine.id}: commit index fell to {commit_index}")
        if core.applied_index < machine.seen_applied:
            raise Violation(f"{machine.id}: applied index fell to {core.applied_index}")
        machine.seen_applied = core.applied_index
        if core.role is Role.LEADER:
            if machine.witness:
                raise Violation(f"{machine.id} leads and has no data")
            leader = self.leaders.setdefault(term, machine.id)
            if leader != machine.id:
                raise Violation(f"Election Safety: {leader} and {machine.id} lead term {term}")
            if commit_index > machine.seen_commit:
                self._on_leader_commit(machine, term, commit_index)

    def _on_leader_commit(self, machine: Machine, term: int, commit_index: int) -> None:
        if commit_index > len(machine.handed_out):
            raise Violation(f"{machine.id} committed {commit_index}, which it has not handed out")
        entry = machine.handed_out[commit_index - 1]
        if commit_index > len(self.committed):
            if entry.term != term:
                raise Violation(
                    f"{machine.id} committed entry {commit_index} of term {entry.term} by counting "
                    f"copies in term {term}"
                )
            holders = [m.id for m in self.machines.values() if m.has_durable(entry)]
            if not is_quorum(machine.core.membership, holders):
                raise Violation(
                    f"{machine.id} committed entry {commit_index}, durable only on {holders}"
                )
        self._take_commits(machine, commit_index)

    def _take_commits(self, machine: Machine, commit_index: int) -> None:
        log, committed = machine.handed_out, self.committed
        for index in range(machine.seen_commit + 1, min(commit_index, len(committed)) + 1):
            if not same(log[index - 1], committed[index - 1], witness=machine.witness):
                raise Violation(
                    f"State Machine Safety: {machine.id} takes {log[index - 1]} for committed, "
                    f"but {committed[index - 1]} is"
                )
        for index in range(len(committed) + 1, commit_index + 1):
            self._register_commit(machine, log[index - 1])
        machine.seen_commit = commit_index

    def _register_commit(self, machine: Machine, entry: Entry) -> None:
        self.reference.add(entry)
        if self._commit_terms and self._commit_terms[-1] > machine.core.current_term:
            raise Violation(f"{machine.id} commits {entry} in a term that another has overtaken")
        self._commit_terms.append(machine.core.current_term)
        if entry.kind is EntryKind.COMMAND:
            if entry.data in self._committed_data:
                raise Violation(f"{entry} is in the log for the second time")
            if self.proposed.get(entry.data) != (entry.index, entry.term):
                raise Violation(f"{entry} was never proposed, or for another place")
            self._committed_data.add(entry.data)
        if entry.term < machine.core.current_term:
            self._coverage["entry of an earlier term committed"] += 1
        for other in self.machines.values():
            if other.leads_since > machine.core.current_term:
                self._check_completeness(other)

    # ------------------------------------------------------------------ effects

    def on_persist(self, machine: Machine, persist: Persist) -> None:
        """Entries go to a node's disk; `handed_out` is its log from now on."""
        if persist.ticket != machine.last_ticket + 1:
            raise Violation(f"{machine.id}: ticket {persist.ticket} after {machine.last_ticket}")
        machine.last_ticket = persist.ticket
        if persist.hard_state is not None:
            machine.written_term = persist.hard_state.current_term
        if not persist.entries:
            return
        if persist.entries[-1].term > machine.written_term:
            raise Violation(f"{machine.id} writes {persist} before the term of its entries")
        log = machine.handed_out
        first = persist.entries[0].index
        if first > len(log) + 1:
            raise Violation(f"{machine.id}: entry {first} follows {len(log)}")
        if first <= len(log):
            self._on_truncation(machine, first, persist.entries[0])
            del log[first - 1 :]
        for entry in persist.entries:
            self._register(machine, entry, log[-1] if log else None)
            log.append(entry)

    def _on_truncation(self, machine: Machine, first: int, replacement: Entry) -> None:
        log = machine.handed_out
        self._coverage["conflicting suffix replaced"] += 1
        if machine.core.role is Role.LEADER and machine.leads_since == machine.core.current_term:
            raise Violation(f"Leader Append-Only: {machine.id} replaces its entry {first}")
        if log[first - 1].term == replacement.term:
            raise Violation(f"{machine.id} replaces entry {first} by itself")
        for index in range(first, min(len(log), len(self.committed)) + 1):
            if same(log[index - 1], self.committed[index - 1], witness=machine.witness):
                raise Violation(f"{machine.id} cuts off the committed entry {index}")

    def _register(self, machine: Machine, entry: Entry, previous: Entry | None) -> None:
        previous_term = previous.term if previous is not None else 0
        known = self._entries.get((entry.index, entry.term))
        if known is not None:
            if not same(entry, known[0], witness=machine.witness) or known[1] != previous_term:
                raise Violation(
                    f"Log Matching: {machine.id} has {entry} after term {previous_term}, another "
                    f"node {known[0]} after term {known[1]}"
                )
            return
        if self.leaders.get(entry.term) != machine.id:
            raise Violation(f"{machine.id} made {entry} without leading that term")
        if previous is not None and (entry.term, entry.time_ms) < (previous.term, previous.time_ms):
            raise Violation(f"{machine.id}: {entry} after {previous}")
        if previous is not None and entry.time_ms < previous.time_ms:
            raise Violation(f"{machine.id}: cluster time falls from {previous} to {entry}")
        if entry.time_ms > machine.now_us * CLOCK_RATE_MAX / 1000 + 1:
            raise Violation(f"{machine.id}: cluster time outruns the clocks at {entry}")
        if entry.kind is EntryKind.MEMBERSHIP and previous is not None:
            self._check_change(machine, entry)
        self._entries[entry.index, entry.term] = (entry, previous_term)

    def _check_change(self, machine: Machine, entry: Entry) -> None:
        """A new membership follows another: only a committed one, one whose majorities it shares."""
        before = machine.world.plan.membership
        for earlier in reversed(machine.handed_out):
            if earlier.kind is EntryKind.MEMBERSHIP:
                before = decode_membership(earlier.data)
                if earlier.index > len(self.committed):
                    raise Violation(f"{machine.id} changes a membership that is not committed")
                break
        after = decode_membership(entry.data)
        if after.removed & after.members or not before.removed <= after.removed:
            raise Violation(f"{machine.id} takes back who was removed: {before}, then {after}")
        everybody = sorted(
            before.voters | before.voters_outgoing | after.voters | after.voters_outgoing
        )
        for chosen in range(1 << len(everybody)):
            some = {name for i, name in enumerate(everybody) if chosen >> i & 1}
            if is_quorum(before, some) and is_quorum(after, set(everybody) - some):
                raise Violation(f"{machine.id} changes {before} to {after}: {some} and the others")
        self._coverage["joint membership" if after.joint else "simple membership"] += 1
        if machine.id not in after.members:
            self._coverage["leader removes itself"] += 1

    def after_turn(self, machine: Machine, local_ms: int) -> None:
        """All effects of a turn are known."""
        core = machine.core
        if core.commit_index > machine.seen_commit:
            if core.commit_index > len(machine.handed_out):
                raise Violation(f"{machine.id} committed beyond its log: {core.commit_index}")
            if core.commit_index > len(self.committed):
                raise Violation(f"{machine.id} knows more to be committed than any leader")
            self._take_commits(machine, core.commit_index)
        if core.role is Role.LEADER and machine.leads_since != core.current_term:
            machine.leads_since = core.current_term
            self._coverage["leader elected"] += 1
            self._check_election(machine)
            self.snapshots.on_election(machine)
            self._check_completeness(machine)
        elif core.role is not Role.LEADER:
            machine.leads_since = 0
        if core.membership_index != machine.seen_membership_index:
            machine.seen_membership_index = core.membership_index
            self.snapshots.check_membership(machine)
        cluster_time_ms = core.cluster_time_ms(local_ms)
        if cluster_time_ms < machine.seen_cluster_time_ms:
            raise Violation(f"{machine.id}: cluster time fell to {cluster_time_ms}")
        machine.seen_cluster_time_ms = cluster_time_ms

    def _check_election(self, leader: Machine) -> None:
        term = leader.leads_since
        voters = [
            machine.id
            for machine in self.machines.values()
            if self._votes.get((machine.id, term)) == leader.id
            or machine.durable.hard_state == HardState(term, leader.id)
        ]
        if not is_quorum(leader.core.membership, voters):
            raise Violation(f"{leader.id} leads term {term}, chosen by {voters} only")

    def _check_completeness(self, leader: Machine) -> None:
        # "If a log entry is committed in a given term": a leader that wakes up late owes nothing to
        # the terms after its own.
        owed = bisect_left(self._commit_terms, leader.leads_since)
        if leader.handed_out[:owed] != self.committed[:owed]:
            raise Violation(
                f"Leader Completeness: {leader.id} leads term {leader.leads_since} without all of "
                f"the {owed} entries that were committed before"
            )

    def on_apply(self, machine: Machine, entries: tuple[Entry, ...]) -> None:
        """Entries go to a node's state machine."""
        for entry in entries:
            if entry.index != machine.apply_released + 1:
                raise Violation(f"{machine.id}: applies {entry} after {machine.apply_released}")
            if entry.index > len(self.committed):
                raise Violation(f"{machine.id} applies {entry}, which nobody committed")
            committed = self.committed[entry.index - 1]
            if not same(entry, committed, witness=machine.witness):
                raise Violation(
                    f"State Machine Safety: {machine.id} applies {entry}, committed is {committed}"
                )
            if not machine.has_durable(entry):
                raise Violation(f"{machine.id} applies {entry} before it is on its own disk")
            machine.apply_released = entry.index

    # ------------------------------------------------------------------ messages

    def on_send(self, machine: Machine, message: Message) -> None:
        """A message leaves a node: is what it says on that node's disk?"""
        state = machine.durable.hard_state
        match message:
            case PreVote():
                term = message.term - 1
            case PreVoteResponse():
                term = 0 if message.granted else message.term
            case _:
                term = message.term
        if term > state.current_term:
            raise Violation(f"{machine.id} sends {message} while {state} is on its disk")
        match message:
            case RequestVoteResponse(granted=True):
                self._on_vote(machine, message.term, machine.sending_to)
            case RequestVote():
                self._on_vote(machine, message.term, machine.id)
                if self._candidates.setdefault(message.term, machine.id) != machine.id:
                    self._coverage["two candidates in one term"] += 1
            case AppendEntries():
                self._on_append_entries(machine, message)
            case AppendEntriesResponse(success=True):
                self._on_acknowledgement(machine, message)

    def _on_vote(self, machine: Machine, term: int, candidate: str) -> None:
        voted_for = self._votes.setdefault((machine.id, term), candidate)
        if voted_for != candidate:
            raise Violation(f"{machine.id} votes for {voted_for} and {candidate} in term {term}")
        state = machine.durable.hard_state
        if state.current_term == term and state.voted_for != candidate:
            raise Violation(f"{machine.id} votes for {candidate} while {state} is on its disk")

    def _on_acknowledgement(self, machine: Machine, message: AppendEntriesResponse) -> None:
        log, index = machine.durable, message.match_index
        if message.term < log.hard_state.current_term:
            # One sync wrote these entries and what a later leader has put in their place.  It can
            # do no harm: this node chose, or a majority without it, before the answer left.
            return
        if index > log.last_index:
            raise Violation(f"{machine.id} acknowledges what is not on its disk: {message}")
        leader = self.machines[self.leaders[message.term]]
        if not index or leader.leads_since != message.term:
            return
        known = leader.handed_out
        if index > len(known) or not machine.has_durable(known[index - 1]):
            raise Violation(f"{machine.id} acknowledges what differs from {leader.id}: {message}")

    def _on_append_entries(self, machine: Machine, message: AppendEntries) -> None:
        if self.leaders.get(message.term) != machine.id:
            raise Violation(f"{machine.id} sends entries without leading: {message}")
        previous = (message.prev_log_index, message.prev_log_term)
        if message.prev_log_index and previous not in self._entries:
            raise Violation(f"{machine.id} names a predecessor that never was: {message}")
        for entry in message.entries:
            known, term_before = self._entries.get((entry.index, entry.term), (None, 0))
            witness = self.machines[machine.sending_to].witness
            if (
                known is None
                or not same(entry, known, witness=witness)
                or (entry.index - 1, term_before) != previous
            ):
                raise Violation(f"{machine.id} sends entries that are not of its log: {message}")
            previous = (entry.index, entry.term)
        if message.leader_commit > len(self.committed):
            raise Violation(f"{machine.id} tells of a commit that never was: {message}")
