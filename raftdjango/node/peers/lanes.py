"""One way to one peer: an outbox and a connection, one request at a time, all on the loop.

Heartbeats and votes have a lane of their own, whose requests time out before an election would, so
that they never wait behind data.  Entries travel on the other, whose timeout grows with the bytes.
A lane takes all that is queued, sends it, delivers what rode back, and turns again.  What cannot be
delivered is dropped and reported: Raft repeats, and only Raft knows what is still worth sending.
"""

from __future__ import annotations

import logging
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from raftdjango.node.peers.batches import encode_batch
from raftdjango.node.peers.bulk import Bulk
from raftdjango.node.peers.calls import (
    ATTEMPTS,
    CONTENT_TYPE,
    SECONDS_PER_MEBIBYTE,
    Call,
    Refused,
    Reply,
)
from raftdjango.node.peers.connection import PeerConnection
from raftdjango.node.peers.fragments import WHOLE_BYTES_MAX
from raftdjango.node.peers.outbox import Outbox
from raftdjango.node.peers.signing import SignatureRefused

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from raftdjango.node.forming.decisions import Nodes
    from raftdjango.node.peers.calls import Peer
    from raftdjango.node.peers.connection import PeerAnswer
    from raftdjango.node.peers.port import PeerItem
    from raftdjango.node.peers.signing import Signer, Standing

logger = logging.getLogger("raftdjango.node")

BATCH_BYTES = 1024 * 1024
"""A lane stops taking items into a batch here."""


class LaneOwner(Protocol):
    """What lanes need of their transport."""

    @property
    def standing(self) -> Standing: ...

    @property
    def nodes(self) -> Nodes: ...

    def delivered(self, sender: Standing, items: Sequence[PeerItem]) -> None: ...

    def undelivered(self, to: str, items: Sequence[PeerItem]) -> None: ...


@dataclass(frozen=True, slots=True)
class LanePlan:
    """How one kind of lane behaves."""

    name: str
    count_max: int
    bytes_max: int
    timeout_s: float
    patience_s: float
    """Longest pause between attempts while the peer does not answer."""


class Lane:
    """Carries one outbox to one peer."""

    def __init__(self, plan: LanePlan, peer: Peer, signer: Signer, owner: LaneOwner) -> None:
        self.plan = plan
        self.peer = peer
        self.outbox = Outbox(count_max=plan.count_max, bytes_max=plan.bytes_max)
        self._signer = signer
        self._owner = owner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: PeerConnection
        self._bulk: Bulk
        self._carried: list[PeerItem] = []
        """Under way; nothing else leaves before it has ended."""
        self._call: Call
        self._attempt = 0
        self._scheduled = False
        self._pause: asyncio.TimerHandle | None = None
        self._failures = 0
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._head = (
            f"POST {peer.path} HTTP/1.1\r\nHost: {peer.host}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        )

    @property
    def idle(self) -> bool:
        """Nothing queued and nothing under way."""
        return not self._carried and not self.outbox

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to carry."""
        self._loop = loop
        self._connection = PeerConnection(self.peer.url, loop)
        self._bulk = Bulk(self.plan.timeout_s, self.peer, self._signer)
        self.peer.on_answer.append(self._resume)
        self._schedule()

    def stop(self) -> None:
        """End; what is queued or under way is dropped."""
        if self._loop is None:
            return
        self._loop = None
        if self._pause is not None:
            self._pause.cancel()
        self.peer.on_answer.remove(self._resume)
        self._connection.close()
        self._bulk.stop()

    def put(self, item: PeerItem) -> list[PeerItem]:
        """Queue `item`; what had to be dropped for it.  It leaves with all else of this turn."""
        dropped = self.outbox.put(item)
        self._schedule()
        return dropped

    def flush(self) -> None:
        """Send what is queued now, if nothing is under way."""
        if not self.outbox or self._carried or self._pause is not None or self._loop is None:
            return
        self._carried, size = self.outbox.take(BATCH_BYTES)
        self._attempt = 0
        try:
            if size > WHOLE_BYTES_MAX:
                self._carry_apart()
            else:
                self._ask(encode_batch(self._carried, forming=self._forming()))
        except Exception as error:
            self._failed(error)

    def _schedule(self) -> None:
        if self._loop is not None and not self._scheduled and not self._carried:
            self._scheduled = True
            self._loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self.flush()

    # -- a batch in one request ----------------------------------------------------------------

    def _ask(self, batch: bytes) -> None:
        self._attempt += 1
        call = self._call = Call(self.peer, self._signer, self._owner.standing, batch)
        head = f"{self._head}Content-Length: {len(batch)}\r\nAuthorization: {call.authorization}\r\n\r\n"
        answer_s = self.plan.timeout_s + len(batch) / 2**20 * SECONDS_PER_MEBIBYTE
        self._connection.ask(head.encode("latin-1") + batch, answer_s=answer_s, done=self._answered)

    def _answered(self, answer: PeerAnswer | OSError) -> None:
        if self._loop is None:
            return
        try:
            if not isinstance(answer, OSError):
                reply = self._call.reply(*answer)
                if reply is not None:
                    self._arrived(reply)
                    return
                if self._attempt >= ATTEMPTS:
                    raise Refused("stale_boot", "it keeps changing its boot id")
            elif (
                isinstance(answer, TimeoutError)
                or not self._connection.reused
                or self._attempt >= ATTEMPTS
            ):
                raise answer
            self._ask(self._call.batch)
        except Exception as error:
            self._failed(error)

    def _forming(self) -> Nodes:
        """Sent along until a cluster id exists, so that the other side can name both lists."""
        return () if self._owner.standing.cluster else self._owner.nodes

    # -- a large batch -------------------------------------------------------------------------

    def _carry_apart(self) -> None:
        self._bulk.carry(
            self._carried,
            self._forming(),
            self._owner.standing,
            on_reply=self._piece_arrived,
            on_end=self._carried_apart,
        )

    def _piece_arrived(self, reply: Reply) -> None:
        self._failures = 0
        self.peer.is_up(self.plan.name)
        self._owner.delivered(reply.sender, reply.items)

    def _carried_apart(self, error: BaseException | None) -> None:
        if error is None:
            self._carried = []
            self._schedule()
        else:
            self._failed(error)

    # -- how it ended --------------------------------------------------------------------------

    def _arrived(self, reply: Reply) -> None:
        self._carried = []
        self._piece_arrived(reply)
        # After what the node makes of it, so that the next batch has it.
        self._schedule()

    def _failed(self, error: BaseException) -> None:
        match error:
            case Refused(code=code, detail=detail, sender=sender):
                if sender is not None and sender.cluster:
                    # A wiped node must learn even from a refusal that the cluster exists.
                    self._owner.delivered(sender, [])
            case SignatureRefused(code=code, detail=detail):
                pass
            case OSError():
                code, detail = "unreachable", f"not reachable ({_reason(error)})"
            case _:
                # A lane outlives what it carries: without it the peer would be cut off.
                logger.error("Peer %s: a batch was dropped.", self.peer.node_id, exc_info=error)
                code, detail = "error", "a batch was dropped, see above"
        lost, self._carried = self._carried, []
        self._failures += 1
        ceiling = min(self.plan.patience_s, 0.02 * 2 ** min(self._failures, 10))
        assert self._loop is not None
        self._pause = self._loop.call_later(ceiling * self._jitter.uniform(0.5, 1.0), self._resume)
        self.peer.is_down(self.plan.name, code, detail)
        self._owner.undelivered(self.peer.node_id, lost)

    def _resume(self) -> None:
        """The pause is over; or another lane got through, while heartbeats keep probing."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            self._schedule()


def _reason(error: OSError) -> str:
    """In few words; asyncio's own text for a refused connection does not say that it was refused."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
