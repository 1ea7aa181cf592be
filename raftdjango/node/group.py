"""One replicated database on this node: its core, log, applier, workers and peers, wired together.

Everything here runs on the event loop.  Entries are opaque: their bytes pass from the local channel
through the core to the log, the peers and the applier, and only the applier looks inside.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from raftcore.messages import AppendEntries
from raftcore.types import Role
from raftdjango.node.channel.server import Channel
from raftdjango.node.channel.sessions import WorkerSession
from raftdjango.node.consensus.applier_runner import ApplierRunner
from raftdjango.node.consensus.hearsay import Hearsay, tell_members
from raftdjango.node.consensus.log_writer import LogWriter
from raftdjango.node.consensus.loop import Consensus, monotonic_ms
from raftdjango.node.consensus.reads import BarrierReads, IndexReads
from raftdjango.node.data_dir import with_cluster, write_identity
from raftdjango.node.forming.driver import Formation
from raftdjango.node.handing_over import hand_over, until
from raftdjango.node.limits import (
    APPLY_QUEUE_BYTES_MAX,
    DRAIN_S,
    LOG_QUEUE_BYTES_MAX,
)
from raftdjango.node.peers.peer_pb2 import ForwardAnswer, MemberFacts, Turn
from raftdjango.node.peers.port import Forward
from raftdjango.node.status import group_status, lock_holder, not_ready_reason
from raftdjango.node.writes.forwards import Forwards
from raftdjango.node.writes.intake import Intake, Placement, Refused
from raftdjango.node.writes.leases import Leases
from raftdjango.node.writes.proposals import SWEEP_S, Proposals, Reason, Refusal
from raftdjango.node.writes.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftcore.effects import RoleChanged
    from raftdjango.node.consensus.applier_runner import AppliedBatch
    from raftdjango.node.opening import OpenedGroup
    from raftdjango.node.peers.port import PeerItem, PeerTransport, Receiver

logger = logging.getLogger("raftdjango.node")

JOIN_S = 5.0
"""How long a stop waits for the log and applier threads to end what they are at."""
FORM_TICKS = 4
"""Every so many sweeps the leader looks whether something of the forming is missing."""
TELL_TICKS = 20
"""Every so many sweeps the leader tells the others what it knows of all: once a second."""


class Group:
    """See above.  `on_failure` is called when the node has to stop."""

    proposals: Proposals
    reads: IndexReads
    transport: PeerTransport
    turns: Turns

    def __init__(
        self,
        opened: OpenedGroup,
        *,
        transport: Callable[[Receiver], PeerTransport],
        on_failure: Callable[[str], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self._opened = opened
        self._loop = loop
        self._node_failure = on_failure
        self.name = opened.name
        self.node_id = opened.settings.node_id
        self.database = opened.database
        self.command_bytes_max = opened.settings.transaction_bytes_max
        self.leader: str | None = None
        self.term = opened.store.hard_state.current_term
        self.role = Role.FOLLOWER
        self.applied_index = opened.state.applied_index
        self.stopping = False
        self.applier_fault = ""
        self._started = False
        self._closed = False
        self._ticks = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._was_ready = False
        self.first_ready: asyncio.Future[None] = loop.create_future()
        """Done once the group has been ready for the first time."""
        self.log = LogWriter(
            opened.store,
            loop,
            on_persisted=lambda ticket: self.consensus.persisted(ticket),
            on_failure=self._on_log_failure,
            name=f"raft-log-{self.name}",
        )
        self.applier = ApplierRunner(
            opened.applier,
            loop,
            members=opened.read_members,
            on_applied=self._on_applied,
            on_fault=self._on_applier_fault,
            name=f"raft-apply-{self.name}",
            on_foreseen=lambda foreseen: self.proposals.on_foreseen(foreseen),
        )
        self.winners = self.applier.winners
        self.core = opened.core
        self.consensus = Consensus(
            opened.core,
            loop,
            persist=self._persist,
            send=lambda to, message: self.transport.send(to, message),
            flush=lambda: self.transport.flush(),
            apply=self.applier.put,
            on_role=self._on_role,
            on_reads=lambda outcomes: self.reads.on_outcomes(outcomes),
            on_failure=self._on_core_failure,
        )
        self._intake = Intake(
            opened.core,
            command_bytes_max=self.command_bytes_max,
            overloaded=self._is_overloaded,
            now_ms=monotonic_ms,
            held_back=lambda *proposal: self.turns.queue.holds_back(*proposal),
        )
        self.turns = Turns(self, call_later=loop.call_later)
        self.forwards = Forwards(self)
        self.hearsay = Hearsay()
        held_up = partial(lock_holder, self, opened)
        self.proposals = Proposals(self, held_up=held_up)
        barriers = BarrierReads(self.proposals, cluster_time_ms=self.cluster_time_ms, now=self.now)
        self.reads = IndexReads(self, barriers, now=self.now, held_up=held_up)
        self.leases = Leases(self.proposals, cluster_time_ms=self.cluster_time_ms, now=self.now)
        self.forming = opened.forming
        self.formation = Formation(
            opened.forming, self.proposals, now=self.now, on_formed=self._on_formed
        )
        self.formation.recall(opened.state.cluster_id or b"", opened.members, opened.store)
        self.applier.observe_members = not self.formation.is_complete
        self.transport = transport(self)
        self.channel = Channel(
            opened.settings.socket_path(self.name),
            command_bytes_max=self.command_bytes_max,
            session=partial(WorkerSession, self),
        )

    async def start(self) -> None:
        """Begin to serve workers and peers."""
        self._started = True
        self.log.start()
        self.applier.start()
        await self.transport.start()
        await self.channel.start()
        self.consensus.start()
        self._tick()

    async def stop(self) -> None:
        """Hand leadership over, let what is under way end, then stop.  Bounded in time."""
        self.stopping = True
        refusal = Refusal(
            Reason.STOPPING, f"Node {self.node_id} is being stopped; nothing was taken."
        )
        self.proposals.close(refusal)
        self.reads.close(refusal)
        await hand_over(self)
        await until(lambda: not len(self.proposals), DRAIN_S)
        await self.abandon()

    async def abandon(self) -> None:
        """Stop at once, in good order: everything durable stays so, nothing else is promised.

        Harmless when called again, also after a stop that was broken off.
        """
        self.stopping = True
        if self._ticker is not None:
            self._ticker.cancel()
        self.consensus.stop()
        await self.channel.stop()
        if self._started:
            self._started = False
            await self.transport.stop()
        self.applier.stop()
        await asyncio.to_thread(self.applier.join, JOIN_S)
        self.log.stop()
        disk_answers = await asyncio.to_thread(self.log.join, JOIN_S)
        if not self._closed:
            self._closed = True
            if disk_answers:
                self._opened.close()
            else:
                logger.error("Group %s: the disk does not answer; left as it is.", self.name)

    # -- as workers see it ---------------------------------------------------------------------

    @property
    def cluster_id(self) -> bytes:
        """Empty until the cluster has formed."""
        return self.formation.cluster_id

    def now(self) -> float:
        """The clock of deadlines."""
        return time.monotonic()

    def cluster_time_ms(self) -> int:
        """Present estimate of cluster time."""
        return self.core.cluster_time_ms(monotonic_ms())

    def status(self) -> dict[str, Any]:
        """What `raftctl status --json` prints."""
        return group_status(self, self._opened)

    # -- as proposals and reads see it ---------------------------------------------------------

    @property
    def commit_index(self) -> int:
        """How far is committed, as this node knows."""
        return self.core.commit_index

    def read_index(self) -> int:
        """Begin a read of the core's."""
        return self.consensus.read_index()

    def append(self, proposal_id: bytes, command: bytes) -> Placement:
        """Append as the leader."""
        placement = self._intake.append(proposal_id, command)
        if not isinstance(placement, Refused):
            self.consensus.touch()
            self.turns.queue.appended(proposal_id)
        return placement

    def forward(self, to: str, proposal_id: bytes, command: bytes) -> None:
        """Send a proposal to the leader."""
        self.transport.send(to, Forward(proposal_id=proposal_id, command=command))

    # -- as the transport sees it --------------------------------------------------------------

    def on_batch(self, sender: str, items: Sequence[PeerItem]) -> None:
        """Items from a peer."""
        for item in items:
            if isinstance(item, Forward):
                self.forwards.take(sender, item)
            elif isinstance(item, ForwardAnswer):
                self._on_forward_answer(item)
            elif isinstance(item, Turn):
                self.turns.on_turn(sender, item)
            elif isinstance(item, MemberFacts):
                self.hearsay.hear(sender, item, monotonic_ms())
            elif not (isinstance(item, AppendEntries) and item.entries and self._is_overloaded()):
                # A follower that cannot keep up lets entries drop: the leader sends them again.
                self.consensus.receive(item)

    def on_undelivered(self, to: str, items: Sequence[PeerItem]) -> None:
        """Items that may not have arrived."""
        for item in items:
            if isinstance(item, Forward):
                self.proposals.on_undelivered(item.proposal_id)

    def _on_forward_answer(self, item: ForwardAnswer) -> None:
        if item.result == ForwardAnswer.ACCEPTED:
            self.proposals.on_accepted(item.proposal_id, item.term, item.index)
        else:
            too_large = item.result == ForwardAnswer.TOO_LARGE
            self.proposals.on_refused(item.proposal_id, too_large=too_large)

    # -- as the core, the log and the applier see it -------------------------------------------

    def _persist(self, effect: Any) -> None:
        self.formation.on_persist(effect.entries)
        self.log.put(effect)

    def _on_applied(self, batch: AppliedBatch) -> None:
        self.applied_index = batch.last_index
        if batch.members:
            self.formation.on_members(batch.cluster_id, batch.members)
            self.applier.observe_members = not self.formation.is_complete
            if self.forming.evicted:
                self._node_failure(self.forming.evicted)
        for applied in batch.applied:
            if applied.proposal_id is not None:
                self._intake.applied(applied.proposal_id)
        self.proposals.on_applied(batch)
        self.leases.on_schema(batch.schema_version)
        if len(self.turns):
            self.turns.on_applied()
        self.consensus.applied(batch.last_index)

    def _on_role(self, change: RoleChanged) -> None:
        if (change.role, change.term, change.leader) == (self.role, self.term, self.leader):
            return
        self.role, self.term, self.leader = change.role, change.term, change.leader
        logger.info(
            "Group %s: %s in term %d, leader: %s",
            self.name,
            change.role.name.lower().replace("_", "-"),
            change.term,
            change.leader or "none known",
        )
        self._intake.forget()
        self.turns.on_leader()
        self.forwards.let_go()
        self.proposals.on_leader()
        self.reads.on_leader()
        self._lead()

    def _on_formed(self, cluster_id: bytes) -> None:
        opened = self._opened
        if opened.identity.cluster_id != cluster_id:
            opened.identity = with_cluster(opened.identity, cluster_id)
            # Once in a cluster's life, so the loop may wait for the disk.
            write_identity(opened.group_dir, opened.identity)
            logger.info("Group %s: cluster %s has formed", self.name, cluster_id.hex())
        self.proposals.open()
        self.reads.open()

    def _on_applier_fault(self, error: BaseException) -> None:
        self.applier_fault = f"{error}" or type(error).__name__
        logger.critical(
            "Group %s: node %s has stopped applying at index %d: %s Mend the cause and restart "
            "the raftnode; nothing is lost.",
            self.name,
            self.node_id,
            self.applied_index,
            _sentence(self.applier_fault),
        )
        refusal = Refusal(
            Reason.STOPPED_APPLYING,
            f"Node {self.node_id} has stopped applying: {self.applier_fault}",
        )
        self.proposals.fail_all(refusal)
        self.reads.close(refusal)

    def _on_log_failure(self, error: BaseException) -> None:
        self.consensus.stop()
        self._node_failure(
            f"The log of group {self.name} could not be written: {_sentence(error)} The node stops: what a "
            "failed write left on the disk is not to be trusted until it is read again at a start."
        )

    def _on_core_failure(self, error: BaseException) -> None:
        logger.debug("The core of group %s failed", self.name, exc_info=error)
        self._node_failure(f"Group {self.name} had to stop: {type(error).__name__}: {error}")

    # -- housekeeping --------------------------------------------------------------------------

    def _is_overloaded(self) -> bool:
        return (
            self.log.pending_bytes > LOG_QUEUE_BYTES_MAX
            or self.applier.pending_bytes > APPLY_QUEUE_BYTES_MAX
        )

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(SWEEP_S, self._tick)
        if len(self.proposals):
            self.proposals.sweep()
        if len(self.reads):
            self.reads.sweep()
        if len(self.turns):
            self.turns.sweep()
        self._ticks += 1
        if self._ticks % FORM_TICKS == 0 or not self._was_ready:
            self._lead()
            self._tell_ready()
        if self._ticks % TELL_TICKS == 0 and self.role is Role.LEADER:
            tell_members(self.core.status(monotonic_ms()), self.transport.send)

    def _lead(self) -> None:
        if self.role is Role.LEADER and not self.formation.is_complete and not self.stopping:
            self.formation.lead()

    def _tell_ready(self) -> None:
        reason = not_ready_reason(self, self._opened)
        if self._was_ready and reason:
            logger.warning("Group %s is not ready: %s", self.name, reason)
        elif not self._was_ready and not reason:
            logger.info(
                "Group %s is ready at index %d, leader: %s",
                self.name,
                self.applied_index,
                self.leader,
            )
        self._was_ready = not reason
        if self._was_ready and not self.first_ready.done():
            self.first_ready.set_result(None)


def _sentence(what: object) -> str:
    """With its full stop, which many messages have already."""
    return f"{what}".rstrip(".") + "."
