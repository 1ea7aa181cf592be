"""Reads that have to be fresh: what a connection's view is known to show, and waiting for more.

A view is known to show all that was committed before some moment of this process' clock, and all up to
some log index.  Whatever takes a view (a statement outside of blocks, the beginning of a block) first
makes sure that the local database is what the level in force asks for.  Inside a block the view stays,
so there a level that asks for more, entered since the block began, has the block go on at a newer one.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from django.db.transaction import TransactionManagementError

from raftdjango.backends.sqlite3.transactions.block import State
from raftdjango.backends.sqlite3.transactions.speculation import STATE_SQL
from raftdjango.conf import get_settings
from raftdjango.consistency.recording import note_write
from raftdjango.consistency.scopes import in_force
from raftdjango.exceptions import ClusterUnavailable

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.replication import Replication
    from raftdjango.consistency import Level

PAUSE_S_MIN, PAUSE_S_MAX = 0.002, 0.1
"""Between questions for an index that the cluster has not come to; doubled after each."""

_proven: dict[str, tuple[float, int]] = {}
"""By database file: since when, by this process' clock, it is known to miss nothing, and by which index.

Shared by the process' connections, so that a bound is kept at the cost of one question per bound.  The
file may be lost and made anew meanwhile: it proves nothing where it has not come to that index.
"""
_UNPROVEN = float("-inf"), 0


class Freshness:
    """What one connection knows of its views."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._index = 0
        """The local database has come as far as this."""
        self._view_at = float("-inf")
        """What the present block's view is known to show."""
        self._view_index = 0
        self._view_proof = 0
        """The index by which the former is so."""
        self._began_at = float("-inf")
        self._path = ""
        self._file: tuple[int, int] | None = None

    def forget(self) -> None:
        """Another connection begins; its file may be another one."""
        self._index = self._view_index = self._view_proof = 0
        self._view_at = self._began_at = float("-inf")
        self._path = os.path.abspath(self._name)  # noqa: PTH100 - the process may change its folder
        self._file = _identity(self._path)

    # -- what is learnt -------------------------------------------------------------------------

    def proven(self, asked_at: float, index: int) -> None:
        """The local database shows all that was committed before `asked_at`, and this index."""
        name = self._name
        if asked_at >= _proven.get(name, _UNPROVEN)[0]:
            _proven[name] = asked_at, index
        if self._file_is_here():
            self._has_come_to(index)

    def _file_is_here(self) -> bool:
        """Whether this connection's file is the one that its node writes to."""
        present = _identity(self._path)
        if self._file is None:
            self._file = present  # SQLite makes it no sooner than it is needed
        if present == self._file:
            return True
        # Django closes it when the request ends.
        self._replication.wrapper.close_at = time.monotonic()
        return False

    def _has_come_to(self, index: int) -> None:
        if not self._replication.nested.active:  # where it will be undone
            self._index = max(self._index, index)

    def refresh(self, timeout_s: float) -> int:
        """Have the local database show all that is committed by now; the index applied."""
        asked_at = time.monotonic()
        index = self._replication.client.refresh(timeout_s=timeout_s)
        self.proven(asked_at, index)
        if not self._file_is_here():
            alias = self._replication.wrapper.alias
            raise ClusterUnavailable(
                f"The database file of {alias!r} was removed or replaced while this connection had it "
                f"open, and shows no more changes. Open it anew: connections[{alias!r}].close()."
            )
        return index

    def wrote(self, index: int, asked_at: float) -> None:
        """An entry of this connection's is applied here: it stands behind all committed before."""
        self._replication.last_index = index
        self.proven(asked_at, index)
        note_write(self._replication.wrapper.alias, index)

    @property
    def _name(self) -> str:
        return str(self._replication.wrapper.settings_dict["NAME"])

    def _is_proven(self, level: Level, moment: float) -> bool:
        """Whether the local database is known to be as recent as the level asks for."""
        if level.staleness_s == math.inf:
            return True
        proven_at, index = _proven.get(self._name, _UNPROVEN)
        if proven_at <= moment - level.staleness_s:
            return False
        if self._index < index:
            found = self._look()
            self._has_come_to(found)
            return found >= index
        return True

    # -- what is asked --------------------------------------------------------------------------

    def before_statement(self) -> None:
        """A statement outside of blocks is about to take its view."""
        scope = in_force(self._replication.wrapper.alias)
        if scope is not None:
            self._reach(scope.level, time.monotonic())

    def before_block(self) -> None:
        """A block is about to begin, without any lock yet."""
        now = time.monotonic()
        scope = in_force(self._replication.wrapper.alias)
        if scope is not None:
            self._reach(scope.level, now)
        self._note_view(now)

    def inside_block(self) -> None:
        """A statement of a block is about to read on the block's view."""
        scope = in_force(self._replication.wrapper.alias)
        if scope is None:
            return
        level, moment = scope.level, max(scope.entered_at, self._began_at)
        if self._shows(level, moment):
            return
        if self._view_at >= moment - level.staleness_s:
            self._view_index = self._look()
            if self._shows(level, moment):
                return
        self._renew(level, moment)

    def _shows(self, level: Level, moment: float) -> bool:
        index = level.index
        if level.staleness_s != math.inf:
            index = max(index, self._view_proof)
        return self._view_at >= moment - level.staleness_s and self._view_index >= index

    def _look(self) -> int:
        """Which entry the view that the connection has, or takes now, is of."""
        speculation = self._replication.speculation
        try:
            with speculation.undisturbed():
                state = speculation.connection.execute(STATE_SQL).fetchone()
        except sqlite3.OperationalError:
            return 0  # its node has not set it up yet
        return int(state[1]) if state else 0

    def _note_view(self, began_at: float) -> None:
        # The view is taken after this, so it shows what is known by now, at least.
        self._began_at = began_at
        self._view_at, self._view_proof = _proven.get(self._name, _UNPROVEN)
        self._view_index = self._index

    def _renew(self, level: Level, moment: float) -> None:
        replication = self._replication
        speculation = replication.speculation
        began_at = self._began_at
        if replication.nested.active:
            self._reach(level, moment)  # in the test's own transaction, which nobody overtakes
        elif speculation.state is State.READING:
            # The old view is kept while this waits, so that a block may go on with it after an error.
            self._reach(level, moment)
            speculation.move_on()
        elif self._has_written():
            raise TransactionManagementError(
                f"This atomic block has written in {replication.wrapper.alias!r}, or locked rows, so its "
                f"view of the database cannot be brought up to date any more ({level}). Enter the "
                "level before that, or around the whole block."
            )
        else:
            # What is waited for has to be applied here, which needs the lock.
            speculation.renew(lambda: self._reach(level, moment))
        self._note_view(began_at)

    def _has_written(self) -> bool:
        speculation = self._replication.speculation
        block = speculation.block
        if block.wrote or (block.statements and speculation.recorder is not None):
            return True  # "no row" is told, too, and a serializable block answers for that
        with speculation.undisturbed():
            return bool(speculation.capture.length())

    # -- waiting --------------------------------------------------------------------------------

    def reach(self, level: Level) -> None:
        """Wait until the local database shows what the level asks for now, whatever is in force."""
        self._reach(level, time.monotonic())

    def _reach(self, level: Level, moment: float) -> None:
        """Wait until the local database is what the level asks for at that moment."""
        timeout_s = level.timeout_s or get_settings().commit_timeout_s
        deadline = time.monotonic() + timeout_s
        if not self._is_proven(level, moment):
            self._refresh(level, timeout_s)
        if self._index >= level.index:
            return
        index, pause_s = self._look(), PAUSE_S_MIN
        while index < level.index:
            if self._replication.nested.active:
                raise ClusterUnavailable(
                    f"A read was to show the database as of log index {level.index}, and this test's has "
                    f"come to {index}. Nobody else writes to it, so it will not come further."
                )
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise ClusterUnavailable(
                    f"A read was to show the database as of log index {level.index}, and the cluster "
                    f"has come to {index} only within {timeout_s:g} s. Is that index of this database?"
                )
            index = self._refresh(level, left_s)
            if index < level.index:
                time.sleep(min(pause_s, max(deadline - time.monotonic(), 0)))
                pause_s = min(pause_s * 2, PAUSE_S_MAX)
        self._has_come_to(index)

    def _refresh(self, level: Level, timeout_s: float) -> int:
        try:
            return self._replication.refresh(timeout_s=timeout_s)
        except ClusterUnavailable as error:
            why = str(error).removeprefix("Nothing was written: ")
            raise ClusterUnavailable(
                f"A read was to be fresh ({level}) and could not be: {why} What this machine has can "
                "be read under raftdjango.consistency.local()."
            ) from error


def _identity(path: str) -> tuple[int, int] | None:
    """Which file it is; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - several times as fast as a Path, at each write
    except OSError:
        return None
    return status.st_dev, status.st_ino
