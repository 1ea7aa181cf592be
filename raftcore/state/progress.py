"""What a leader knows of one follower, and how much it may send it.

In PROBE the leader does not know where the logs agree: one message at a time finds out.  In
REPLICATE it sends ahead optimistically ("pipelining", thesis §10.2.1), bounded by count and bytes,
and falls back to PROBE when the follower refuses.  In SNAPSHOT the state itself is on its way
(paper §7), and no entries are sent.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from raftcore.config import Config


class ProgressState(Enum):
    """How messages to a follower are paced."""

    PROBE = 1
    REPLICATE = 2
    SNAPSHOT = 3


class Progress:
    """Invariant: 0 <= match_index < next_index."""

    __slots__ = (
        "_inflight",
        "_inflight_bytes",
        "_last_round_short",
        "answered_sequence",
        "check_due",
        "commit_sent",
        "contact_ms",
        "first_session",
        "heard_ms",
        "match_index",
        "next_index",
        "priority",
        "probe_sent",
        "round_since_ms",
        "round_target",
        "session",
        "silent_heartbeats",
        "snapshot_due_ms",
        "snapshot_index",
        "state",
    )

    def __init__(self, next_index: int, session: int) -> None:
        self.match_index = 0
        """Known to be equal to the leader's log, and durable there, up to here."""
        self.next_index = next_index
        self.state = ProgressState.PROBE
        self.session = session
        """Tags what is sent; a refusal counts only if it carries the present one."""
        self.first_session = session
        """Acknowledgements from before this are of an earlier incarnation of the follower."""
        self.probe_sent = False
        self.check_due = False
        """Ask with an empty message whether what was sent has arrived."""
        self.silent_heartbeats = 0
        """Heartbeats answered since an append was, while one is owed."""
        self.commit_sent = 0
        """The commit index that the follower has been told, if all arrived."""
        self.answered_sequence = 0
        """The newest heartbeat that it has answered."""
        self.priority = 0
        """`Config.priority` of the follower, once it has told."""
        self.contact_ms: int | None = None
        """When the newest heartbeat that it has answered was sent."""
        self.heard_ms: int | None = None
        """When anything came from it."""
        self.snapshot_index = 0
        """The last index of the snapshot that was sent last."""
        self.snapshot_due_ms = 0
        """No snapshot before this: the last one could not be sent."""
        self.round_target = 0
        """A round ends when the follower holds what the log held at its beginning; 0 for none."""
        self.round_since_ms = 0
        self._last_round_short = False
        self._inflight: deque[tuple[int, int]] = deque()
        self._inflight_bytes = 0

    @property
    def inflight(self) -> int:
        """Messages with entries that are under way, as far as is known."""
        return len(self._inflight)

    @property
    def inflight_bytes(self) -> int:
        """And their bytes."""
        return self._inflight_bytes

    @property
    def awaits_snapshot(self) -> bool:
        """A snapshot is on its way, or has arrived and is not acknowledged yet."""
        sent = self.match_index < self.snapshot_index == self.next_index - 1
        return sent and self.state is not ProgressState.REPLICATE

    def may_send(self, config: Config) -> bool:
        """Whether another message with entries may go."""
        if self.state is not ProgressState.REPLICATE:
            return self.state is ProgressState.PROBE and not self.probe_sent
        if not self._inflight:
            return True
        return (
            len(self._inflight) < config.inflight_max
            and self._inflight_bytes < config.inflight_bytes_max
        )

    def sent(self, last_index: int, size_bytes: int) -> None:
        """Entries up to `last_index` have been sent."""
        if self.state is ProgressState.PROBE:
            self.probe_sent = True
        else:
            self.next_index = last_index + 1
            self._inflight.append((last_index, size_bytes))
            self._inflight_bytes += size_bytes

    def may_be_told(self, commit_index: int) -> bool:
        """Whether a message about the commit index alone would be news.

        Only of what has been sent, and not while probing; the next entries bring it anyway.
        """
        commit_index = min(commit_index, self.next_index - 1)
        return self.state is ProgressState.REPLICATE and commit_index > self.commit_sent

    def acknowledged(self, match_index: int, first_index: int = 1) -> bool:
        """The follower holds everything up to `match_index`; True if that is news.

        While a snapshot is on its way, it is over when entries can follow: whether the snapshot is
        what brought it there does not matter, and nothing may have come to say so.
        """
        self.silent_heartbeats = 0
        self.probe_sent = False
        news = match_index > self.match_index
        self.match_index = max(self.match_index, match_index)
        while self._inflight and self._inflight[0][0] <= match_index:
            self._inflight_bytes -= self._inflight.popleft()[1]
        if self.state is ProgressState.PROBE or (
            self.state is ProgressState.SNAPSHOT and match_index >= first_index - 1
        ):
            self.state = ProgressState.REPLICATE
            self.next_index = self.match_index + 1
        else:
            self.next_index = max(self.next_index, self.match_index + 1)
        return news

    def round(self, last_index: int, now_ms: int, config: Config) -> None:
        """Bring a learner up to date in rounds, each of what came during the one before.

        "If the last round lasts less than an election timeout, then the leader adds the server to
        the cluster, under the assumption that there are not enough unreplicated entries to create a
        significant availability gap" (thesis §4.2.1).
        """
        if self.round_target and self.match_index >= self.round_target:
            short = now_ms - self.round_since_ms < config.election_timeout_ms
            # Where nothing was written meanwhile, the round that would follow takes no time at all.
            self._last_round_short = short or self.match_index >= last_index
            self.round_target = 0
        if not self.round_target and self.match_index < last_index:
            self.round_target, self.round_since_ms = last_index, now_ms

    def in_contact(self, now_ms: int, config: Config) -> bool:
        """Whether it has answered a heartbeat of the last election timeout."""
        since_ms = now_ms - config.election_timeout_ms
        return self.contact_ms is not None and self.contact_ms > since_ms

    def caught_up(self, now_ms: int, config: Config) -> bool:
        """Whether it is here and the last round was short, and so far the present one."""
        heard = self.heard_ms is not None and now_ms - self.heard_ms < config.election_timeout_ms
        present = not self.round_target or now_ms - self.round_since_ms < config.election_timeout_ms
        arriving = self.state is ProgressState.SNAPSHOT
        return heard and self._last_round_short and present and not arriving

    def refused(self, rejected_index: int) -> bool:
        """Whether a refusal of this session says something new about where the logs agree."""
        if rejected_index <= self.match_index or self.state is ProgressState.SNAPSHOT:
            return False
        return self.state is ProgressState.REPLICATE or rejected_index == self.next_index - 1

    def probe(self, next_index: int, session: int) -> None:
        """Begin again from `next_index`; whatever was on its way is not counted on any more."""
        self.state = ProgressState.PROBE
        self.next_index = max(next_index, self.match_index + 1)
        self.session = session
        self.probe_sent = False
        self.check_due = False
        self.silent_heartbeats = 0
        self._inflight.clear()
        self._inflight_bytes = 0

    def send_snapshot(self, index: int, session: int) -> None:
        """The state up to `index` is sent instead of entries."""
        self.probe(index + 1, session)
        self.state = ProgressState.SNAPSHOT
        self.snapshot_index = index

    def heartbeat_answered(self) -> None:
        """The follower is there.  If it keeps silent about entries, ask about them.

        Without this a window full of lost messages would stay full, and a lost probe be the last.
        The first answer proves nothing: the entries may just be on their way or being written.
        """
        waits = self.probe_sent or self.match_index != self.next_index - 1
        if not waits or self.state is ProgressState.SNAPSHOT:
            self.silent_heartbeats = 0
            return
        self.silent_heartbeats += 1
        if self.silent_heartbeats >= 2:
            self.silent_heartbeats = 0
            self.check_due = True
