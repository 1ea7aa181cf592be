"""How far the state machine is, and what has been handed out to it."""

from __future__ import annotations

from collections import deque

from raftcore.effects import Apply
from raftcore.errors import InvariantViolation
from raftcore.state.log import RaftLog, entry_size


class Applying:
    """Invariant: applied_index <= offered_index <= the log's commit index."""

    __slots__ = ("_batches", "_bytes", "applied_index", "bytes_since_snapshot", "offered_index")

    def __init__(self, applied_index: int) -> None:
        self.applied_index = applied_index
        """In the state machine up to here, as its driver has reported."""
        self.offered_index = applied_index
        """Handed out up to here."""
        self.bytes_since_snapshot = 0
        """About what was applied behind the newest snapshot."""
        # The last index and the bytes of each batch that has not been reported as applied.
        self._batches: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def take(self, log: RaftLog, bytes_max: int) -> list[Apply]:
        """What may be applied by now, bounded by what is handed out and not yet applied.

        Only what is durable here: the state machine must not overtake its own log.  So there is
        nothing left to wait for.
        """
        ready = min(log.commit_index, log.stable_index)
        batches = []
        while self.offered_index < ready and self._bytes < bytes_max:
            entries = log.entries(self.offered_index + 1, ready, bytes_max)
            self.offered_index = entries[-1].index
            size = sum(map(entry_size, entries))
            self._batches.append((self.offered_index, size))
            self._bytes += size
            batches.append(Apply(entries, after=0))
        return batches

    def applied(self, index: int) -> None:
        """Entries up to `index` are in the state machine."""
        if index > self.offered_index:
            raise InvariantViolation(f"{index} applied, but {self.offered_index} handed out")
        self.applied_index = max(self.applied_index, index)
        while self._batches and self._batches[0][0] <= index:
            size = self._batches.popleft()[1]
            self._bytes -= size
            self.bytes_since_snapshot += size

    def skip_to(self, index: int) -> None:
        """A snapshot brings the state machine here: nothing up to `index` is handed out."""
        self.offered_index = index
        self._batches.clear()
        self._bytes = 0
        self.bytes_since_snapshot = 0

    def measure(self, log: RaftLog) -> None:
        """Find out how much has been applied behind the log's snapshot."""
        covered = log.snapshot_index
        self.bytes_since_snapshot = (
            log.bytes_between(covered, self.applied_index) if covered < self.applied_index else 0
        )
