"""One node's state (paper, Figure 2, "State"), and the changes of role that everything shares.

It decides nothing: what to do on which message or timer is in `raftcore.protocol`, whose functions
are over it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from raftcore import quorum
from raftcore.config import Config
from raftcore.effects import Compact, InstallSnapshot, Persist, TakeSnapshot
from raftcore.errors import InvariantViolation
from raftcore.state.applying import Applying
from raftcore.state.clock import ClusterClock
from raftcore.state.leading import Leading
from raftcore.state.log import RaftLog
from raftcore.state.outbox import Outbox
from raftcore.state.reads import Reads
from raftcore.types import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    NodeId,
    Role,
    SnapshotMeta,
)


@dataclass(slots=True)
class Installing:
    """A snapshot on its way to this node's log and state machine (paper §7)."""

    meta: SnapshotMeta
    skipped_from: int
    """The first entry that is not handed out to be applied because of it."""
    handed_out: bool = False


@dataclass(slots=True)
class Compaction:
    """Snapshots of this node's own state, and what goes of its log because of them."""

    asked: bool = False
    """The driver has not answered yet."""
    due_ms: int = 0
    """The next one is not asked for before."""
    unusable_index: int = 0
    """Up to here reaches a snapshot that this node's own state machine could not begin with; no
    follower could either."""
    effects: list[TakeSnapshot | Compact] = field(default_factory=list)

    def take(self) -> list[TakeSnapshot | Compact]:
        """What the driver has to do."""
        effects, self.effects = self.effects, []
        return effects


class Node:
    """Invariants: `leading` is there exactly in role LEADER; terms never fall; at most one vote
    and one leader per term."""

    __slots__ = (
        "_state_dirty",
        "acknowledged",
        "applying",
        "clock",
        "compaction",
        "config",
        "courtesy_ms",
        "current_term",
        "election_due_ms",
        "heard_leader_ms",
        "installing",
        "leader",
        "leading",
        "log",
        "now_ms",
        "offers",
        "outbox",
        "postponed",
        "promised_to",
        "promised_until_ms",
        "reads",
        "removed",
        "resend_due_ms",
        "rng",
        "role",
        "stood_back",
        "transfer_election",
        "voted_for",
        "votes",
    )

    def __init__(
        self,
        config: Config,
        log: RaftLog,
        hard_state: HardState,
        applied_index: int,
        rng: random.Random,
        now_ms: int,
    ) -> None:
        if hard_state.current_term < log.last_term:
            raise InvariantViolation(
                f"The log has entries of term {log.last_term}, but the term on disk is "
                f"{hard_state.current_term}: the vote of that term is lost."
            )
        self.config = config
        self.log = log
        self.rng = rng
        self.now_ms = now_ms
        self.applying = Applying(applied_index)
        self.compaction = Compaction()
        self.installing: Installing | None = None
        self.outbox = Outbox()
        self.reads = Reads.of(rng)
        self.clock = ClusterClock(log.last_time_ms(), now_ms)
        self.current_term = hard_state.current_term
        self.voted_for = hard_state.voted_for
        self._state_dirty = False
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.leading: Leading | None = None
        self.heard_leader_ms: int | None = None
        """When the leader of the present term was last heard."""
        self.promised_to: NodeId | None = None
        self.promised_until_ms = now_ms
        """Until then this node votes for nobody but `promised_to`, where leases are in use."""
        if config.lease_reads and hard_state.current_term:
            # Whatever was promised before a restart, it ends by then.
            self.promised_until_ms += config.election_timeout_ms
        self.acknowledged = (0, 0, 0)
        """Term, session and match index of the last success told to a leader."""
        self.removed = False
        """A member has told that this node is none any more."""
        self.votes: dict[NodeId, bool] = {}
        """By voter, so that no answer counts twice."""
        self.transfer_election = False
        self.resend_due_ms: int | None = None
        self.election_due_ms: int | None = None
        self.courtesy_ms = 0
        """How much longer it waits with an election, to let others go first."""
        self.stood_back = 0
        """Elections in which a node of priority 0 did not stand, since there was last a leader."""
        self.offers: dict[NodeId, tuple[int, int]] = {}
        """How often leadership was offered to somebody since that one last led, up to a bound, and
        when it was last.  A hand-over that fails may end the term, so terms do not end this."""
        self.postponed = False
        """The election was put off once already because this node itself had been asleep."""

    @property
    def node_id(self) -> NodeId:
        return self.config.node_id

    @property
    def membership(self) -> Membership:
        return self.log.membership

    @property
    def promotable(self) -> bool:
        """Whether this node may campaign: only voters do.

        "A server that is not part of its own latest configuration should still start new elections,
        as it might still be needed until the C_new entry is committed" (thesis §4.2.2): it may hold
        the longest log, so that no one else can win.  Its own vote does not count then.

        Not while a snapshot is being installed: it could neither apply nor send what it leads.
        """
        if self.installing is not None:
            return False
        if self.removed or self.config.witness or self.node_id in self.membership.witnesses:
            return False
        if self.node_id in self.membership.voters:
            # As nearly always; and every message of a leader asks, since it sets the timer anew.
            return True
        return any(
            quorum.is_voter(membership, self.node_id)
            for membership in self.log.memberships_that_may_count()
        )

    @property
    def other_voters(self) -> list[NodeId]:
        """In the order of their names: the order of a set would differ between runs."""
        return sorted(quorum.voters(self.membership) - {self.node_id})

    def reset_election_timer(self) -> None:
        """Draw a new timeout (paper §5.2: randomized, so that split votes are rare)."""
        self.postponed = False
        self.election_due_ms = None
        if self.promotable:
            timeout_ms = self.config.election_timeout_ms
            timeout_ms = self.rng.randrange(timeout_ms, 2 * timeout_ms)
            self.election_due_ms = self.now_ms + timeout_ms + self.courtesy_ms

    def become_follower(self, term: int, leader: NodeId | None) -> None:
        """Follow, in this term or a later one.

        "If RPC request or response contains term T > currentTerm: set currentTerm = T, convert to
        follower" (paper, Figure 2).  The election timer runs on, unless there was none.
        """
        if term < self.current_term:
            raise InvariantViolation(f"term {self.current_term} cannot fall to {term}")
        if term > self.current_term:
            self.set_hard_state(term, None)
            self.leader = None
        if leader is not None and self.leader not in (None, leader):
            raise InvariantViolation(f"{self.leader} and {leader} both lead in term {term}")
        if self.role is Role.LEADER:
            self.leading = None
            self.leader = None
            self.stood_back = 0
            self.reset_election_timer()
        self.role = Role.FOLLOWER
        self.leader = leader if leader is not None else self.leader
        self.votes = {}
        self.resend_due_ms = None

    def follow(self, term: int, leader: NodeId) -> None:
        """The legitimate leader of this term has spoken."""
        if self.role is Role.LEADER and term == self.current_term:
            raise InvariantViolation(f"{self.node_id} and {leader} both lead in term {term}")
        if self.role is not Role.FOLLOWER or term != self.current_term or leader != self.leader:
            self.become_follower(term, leader)
            self.offers.pop(leader, None)
        self.heard_leader_ms = self.now_ms
        self.stood_back = 0
        self.promised_to = leader
        self.promised_until_ms = self.now_ms + self.config.election_timeout_ms
        self.reset_election_timer()

    def answers_present_term(self, term: int) -> bool:
        """Whether an answer of this term still means something here.

        A later term makes this node a follower; answers to what it asked in an earlier term, or as
        something else, are dropped.
        """
        if term > self.current_term:
            self.become_follower(term, None)
            return False
        return term == self.current_term

    def set_hard_state(self, term: int, voted_for: NodeId | None) -> None:
        """Change term or vote; it is written with the next `Persist`."""
        self.current_term = term
        self.voted_for = voted_for
        self._state_dirty = True

    @property
    def state_durable(self) -> bool:
        """Whether the present term and vote are on disk."""
        return not self._state_dirty and not self.log.writes.after_state

    def append(self, kind: EntryKind, data: bytes) -> int:
        """As a leader: add an entry of this term to the log; its index."""
        index = self.log.last_index + 1
        time_ms = self.clock.read(self.now_ms)
        self.log.append(Entry(index, self.current_term, kind, time_ms, data))
        return index

    def take_writes(self) -> list[Persist | InstallSnapshot]:
        """What is not yet on its way to the disk, in the order of its tickets.

        Term and vote go with or before the entries, and before a snapshot, so that a log never
        holds an entry of a term that the node does not know of.
        """
        effects: list[Persist | InstallSnapshot] = []
        installing = self.installing
        if installing is not None and not installing.handed_out:
            installing.handed_out = True
            if self._state_dirty:
                effects.append(self._persist(()))
            meta = installing.meta
            ticket = self.log.writes.issue(meta.index, with_state=False, now_ms=self.now_ms)
            effects.append(InstallSnapshot(meta, ticket, installing.skipped_from))
        entries = self.log.take_unwritten()
        if entries or self._state_dirty:
            effects.append(self._persist(entries))
        return effects

    def _persist(self, entries: tuple[Entry, ...]) -> Persist:
        state = HardState(self.current_term, self.voted_for) if self._state_dirty else None
        self._state_dirty = False
        # The entries are the last of the log; of a write without any nothing may be concluded.
        last_index = entries[-1].index if entries else 0
        ticket = self.log.writes.issue(last_index, with_state=state is not None, now_ms=self.now_ms)
        return Persist(state, entries, ticket)
