"""One peer, seen from the loop: which way each item goes to it, and when.

There are two ways: by lane, as a request of this node, and by riding in the answer to a request of
the peer's.  Riding spares a request, which is most of what a small write costs.  Two rules keep it
harmless:

* Entries must not overtake each other, or the follower sees a gap and asks again.  So entries ride
  only while the lane is idle, and once some have ridden, further ones wait until the peer is heard
  of again (its acknowledgement proves that the answer arrived), or `DETOUR_S`.
* An AppendEntries without entries mostly says how far is committed.  It waits for the next entries,
  `HOLD_IDLE_S` at most.  Where workers of the peer wait for it (it has passed proposals on), it
  goes at once, or in the answer to the acknowledgement that the peer owes.  Newer ones replace it.

A request that brings entries is answered once they are durable here, so that the acknowledgement
rides in its answer: one exchange for each batch instead of two.  No thread waits for that, and none
longer than `ACKNOWLEDGE_S`: a slow disk's acknowledgement goes by lane.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdjango.node.peers.batches import make_batch
from raftdjango.node.peers.fragments import BATCH_OVERHEAD, Partials
from raftdjango.node.peers.lanes import Lane, LanePlan
from raftdjango.node.peers.outbox import size_of
from raftdjango.node.peers.peer_pb2 import Batch, Fragment, MemberFacts
from raftdjango.node.peers.port import Forward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from raftdjango.conf import Settings
    from raftdjango.node.peers.calls import Peer
    from raftdjango.node.peers.lanes import LaneOwner
    from raftdjango.node.peers.port import PeerItem
    from raftdjango.node.peers.signing import Signer, Standing

CONTROL = (
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    ReadIndex,
    ReadIndexResponse,
    MemberFacts,
)
CONTROL_ITEMS_MAX = 64
ENTRIES_ITEMS_MAX = 16384
OUTBOX_OVERHEAD = 16 * 1024 * 1024
"""What the entries lane queues beyond one entry of the largest size."""
RIDE_BYTES = 256 * 1024
"""What rides back in one answer."""
HOLD_S = 0.002
HOLD_IDLE_S = 0.02
FORWARDED_S = 1.0
"""A peer that passed a proposal on within this time has workers that wait for the commit index."""
DETOUR_S = 0.005
ACKNOWLEDGE_S = 0.025


class Link:
    """A peer's lanes, its unfinished batches, and what waits to ride to it."""

    def __init__(
        self,
        settings: Settings,
        peer: Peer,
        signer: Signer,
        owner: LaneOwner,
        *,
        on_dropped: Callable[[str, Sequence[PeerItem]], None],
    ) -> None:
        election_s = settings.election_timeout_ms / 1000
        largest = settings.transaction_bytes_max
        control = LanePlan(
            "control",
            CONTROL_ITEMS_MAX,
            BATCH_OVERHEAD,
            timeout_s=election_s / 2,
            patience_s=settings.heartbeat_ms / 1000,
        )
        entries = LanePlan(
            "entries",
            ENTRIES_ITEMS_MAX,
            largest + OUTBOX_OVERHEAD,
            timeout_s=2 * election_s,
            patience_s=1.0,
        )
        self.peer = peer
        self.control = Lane(control, peer, signer, owner)
        self.entries = Lane(entries, peer, signer, owner)
        self.lanes = (self.control, self.entries)
        self.partials = Partials(largest + BATCH_OVERHEAD)
        self.admitted: tuple[Standing, int] | None = None
        """Peer and `Forming.revision` when the peer was let in: the check needs no repetition."""
        self.refused = ""
        self._on_dropped = on_dropped
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exchanges: list[Exchange] = []
        """Requests of the peer that are being answered."""
        self._forwarded_at = float("-inf")
        self._riding: list[PeerItem] = []
        self._held: AppendEntries | None = None
        self._hold_timer: asyncio.TimerHandle | None = None
        self._detour: asyncio.TimerHandle | None = None
        """Runs while entries that rode are not known to have arrived."""
        self._waiting: list[PeerItem] = []
        """Entries that would overtake those."""
        self._sent_index = 0
        self._acked_index = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to carry."""
        self._loop = loop
        for lane in self.lanes:
            lane.start(loop)

    def stop(self) -> None:
        """End; what is queued is dropped."""
        for timer in (self._hold_timer, self._detour):
            if timer is not None:
                timer.cancel()
        self._loop = None
        for lane in self.lanes:
            lane.stop()

    def flush(self) -> None:
        """Send now, rather than at the next turn of the loop."""
        for exchange in tuple(self._exchanges):
            exchange.flush()
        for lane in self.lanes:
            lane.flush()

    # -- out -----------------------------------------------------------------------------------

    def send(self, item: PeerItem) -> None:
        """Send `item` whichever way is best."""
        if isinstance(item, AppendEntries):
            if item.entries:
                self._send_entries(item)
            else:
                self._send_empty(item)
        elif self._exchanges and not isinstance(item, Forward):
            self._riding.append(item)
            if isinstance(item, AppendEntriesResponse):
                for exchange in self._exchanges:
                    exchange.settle()
        else:
            self._by_lane(item)

    def _send_entries(self, item: AppendEntries) -> None:
        self._held = None  # what it said of the commit index, these entries say anew
        self._sent_index = max(self._sent_index, item.entries[-1].index)
        if self._detour is not None:
            self._waiting.append(item)
        elif self._exchanges and self.entries.idle:
            self._riding.append(item)
        else:
            self._by_lane(item)

    def _send_empty(self, item: AppendEntries) -> None:
        if self._exchanges and self._detour is None and self.entries.idle:
            self._riding.append(item)
            return
        hold_s = self._hold_s()
        if self._loop is None or not hold_s:
            self._by_lane(item)
            return
        self._held = item
        if self._hold_timer is None:
            self._hold_timer = self._loop.call_later(hold_s, self._let_go)

    def _hold_s(self) -> float:
        """How long the commit index may wait for company."""
        if self._loop is None or self._loop.time() - self._forwarded_at >= FORWARDED_S:
            return HOLD_IDLE_S
        return HOLD_S if self._sent_index > self._acked_index else 0

    def _let_go(self) -> None:
        self._hold_timer = None
        held, self._held = self._held, None
        if held is not None:
            self._by_lane(held)

    def _by_lane(self, item: PeerItem) -> None:
        lane = self.control if isinstance(item, CONTROL) else self.entries
        if dropped := lane.put(item):
            self._on_dropped(self.peer.node_id, dropped)

    # -- in ------------------------------------------------------------------------------------

    def heard(self, items: Iterable[PeerItem]) -> None:
        """The peer has said this: what is acknowledged has arrived."""
        for item in items:
            if isinstance(item, Forward) and self._loop is not None:
                self._forwarded_at = self._loop.time()
            if not isinstance(item, AppendEntriesResponse):
                continue
            if item.success:
                self._acked_index = max(self._acked_index, item.match_index)
            else:
                # It will be sent again from further back: nothing is owed.
                self._sent_index = self._acked_index = 0
            self._end_detour()

    def _end_detour(self) -> None:
        if self._detour is not None:
            self._detour.cancel()
            self._detour = None
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            self._by_lane(item)

    # -- answers -------------------------------------------------------------------------------

    def open(
        self, items: Iterable[PeerItem], fragment: Fragment | None, *, seal: Callable[[bytes], str]
    ) -> Exchange:
        """A request with `items` has come: until it is answered, what is ready for the peer rides.

        `seal` gives the header that signs the answer.
        """
        exchange = Exchange(self, fragment, seal, owes=any(map(_has_entries, items)))
        if self._loop is not None:
            self._exchanges.append(exchange)
        return exchange

    def close(self, exchange: Exchange) -> None:
        """The answer has been made, or never will be: what is there after that goes by lane."""
        if exchange in self._exchanges:
            self._exchanges.remove(exchange)
        if not self._exchanges:
            late, self._riding = self._riding, []
            for item in late:
                self._by_lane(item)

    def reply(self, fragment: Fragment | None = None) -> Batch:
        """What rides in this answer: everything ready by now, within `RIDE_BYTES`."""
        riding, self._riding = self._riding, []
        if self._held is not None and self._detour is None and self.entries.idle:
            riding.append(self._held)
            self._held = None
        fitting = _fitting(riding)
        batch, rest = riding[:fitting], riding[fitting:]
        if self._loop is not None and any(map(_has_entries, batch)):
            self._detour = self._loop.call_later(DETOUR_S, self._end_detour)
        for item in rest:
            self.send(item)
        reply = make_batch(batch)
        if fragment is not None:
            reply.fragment.CopyFrom(fragment)
        return reply


def _fitting(items: Sequence[PeerItem]) -> int:
    """How many of `items`, from the first, fit into one answer."""
    size = 0
    for number, item in enumerate(items):
        size += size_of(item)
        if size > RIDE_BYTES:
            return number
    return len(items)


def _has_entries(item: PeerItem) -> bool:
    return isinstance(item, AppendEntries) and bool(item.entries)


class Exchange:
    """A peer's request that has been taken in: `when_settled`, then `reply`, then `close`."""

    __slots__ = ("_call", "_fragment", "_link", "_owes", "_seal", "_settled", "_wait")

    def __init__(
        self, link: Link, fragment: Fragment | None, seal: Callable[[bytes], str], *, owes: bool
    ) -> None:
        self._link = link
        self._fragment = fragment
        self._seal = seal
        self._owes = owes
        self._settled = False
        self._call: Callable[[], None] | None = None
        self._wait: asyncio.Handle | None = None

    def settle(self) -> None:
        """The acknowledgement that was owed is ready to ride."""
        if not self._owes:
            return
        self._owes = False
        if self._call is not None:
            self._end_wait()
            # What else is sent in this turn rides, too.
            self._settled = True
            self._wait = asyncio.get_running_loop().call_soon(self._call)

    def flush(self) -> None:
        """The turn is over: nothing more will ride."""
        if self._settled and self._call is not None:
            self._end_wait()
            self._call()

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call back once what the node makes of the batch can ride in the answer; soon.

        Unless `close` comes first.
        """
        self._call = call
        loop = asyncio.get_running_loop()
        if self._owes:
            self._wait = loop.call_later(ACKNOWLEDGE_S, call)
        else:
            self._wait = loop.call_soon(call)

    def reply(self) -> tuple[bytes, str]:
        """What goes back, and the header that signs it."""
        body = self._link.reply(self._fragment).SerializeToString()
        return body, self._seal(body)

    def close(self) -> None:
        """Nothing rides with this answer any more."""
        self._call = None
        self._end_wait()
        self._link.close(self)

    def _end_wait(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
