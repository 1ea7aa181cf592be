"""The local database's write lock, as the applier takes it."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from raftdjango.applier.faults import Locked

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

POLL_S, POLL_S_URGENT = 0.001, 0.000_2
URGENT_S = 0.01
"""Most transactions end sooner, and all other workers stand still meanwhile."""


class Lock:
    """BEGIN on the applier's connection, with patience for workers that have the write lock."""

    def __init__(
        self,
        cursor: sqlite3.Cursor,
        *,
        waiting: Callable[[int], AbstractContextManager[object]],
        unhurried: Callable[[], bool],
        patience_s: float,
    ) -> None:
        """`waiting(since_ns)` asks workers to give way; `unhurried`, whether they need not be asked yet."""
        self._cursor = cursor
        self._waiting = waiting
        self._unhurried = unhurried
        self._patience_s = patience_s
        self._since_ns = 0
        """Workers are asked since then; a further try does not begin their time anew."""

    def begin(self) -> None:
        """Begin a transaction; raises `Locked` once patience is at its end."""
        if self.try_begin():
            return
        while not self._since_ns and self._unhurried():
            time.sleep(POLL_S)
            if self.try_begin():
                return
        self._since_ns = self._since_ns or time.monotonic_ns()
        with self._waiting(self._since_ns):
            began = time.monotonic()
            while not self.try_begin():
                waited_s = time.monotonic() - began
                if waited_s > self._patience_s:
                    raise Locked("Another process holds the database's write lock.")
                time.sleep(POLL_S_URGENT if waited_s < URGENT_S else POLL_S)
                self._unhurried()  # Whoever looks ahead may find something new.

    def try_begin(self) -> bool:
        """Begin if that can be done at once."""
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        self._since_ns = 0
        return True
