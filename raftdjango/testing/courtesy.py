"""Who goes first at a test database's write lock.

The consensus applies as soon as it has the lock, so nobody has to be hurried.  But where a commit holds up
others the lock is kept, as in production; without that, two threads with blocks in two databases would
wait for each other until one's patience is at its end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from raftdjango.right_of_way.keeping import Keeping

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.001


class Courtesy:
    """What `RightOfWay` is to a machine's workers, among the threads of this process."""

    _all: ClassVar[dict[str, Courtesy]] = {}
    lock_yield_ms: int | None = None

    def __init__(self) -> None:
        self.keeping = Keeping([0])

    @classmethod
    def of(cls, path: str) -> Courtesy:
        """The one of a file."""
        return cls._all.setdefault(path, cls())

    @property
    def is_free(self) -> bool:
        """Whether nobody is to be let in first."""
        return not self.keeping

    def acquire(self, begin: Callable[[], bool], timeout_s: float, *, first: bool = False) -> bool:
        """Call `begin` until it has the lock."""
        deadline = time.monotonic() + timeout_s
        while self.keeping or not begin():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True

    def watch(self, doom: Callable[[], None], *, reserved_ms: int = 0) -> None:
        """Nobody is doomed here."""

    def unwatch(self, watch: object) -> None:
        """Nobody is watched here."""
