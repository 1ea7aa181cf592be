"""What is no verdict: the environment's faults, and how they are told from the entry's own errors.

A verdict must be the same on every node.  An error that depends on the machine (disk full, I/O,
a damaged or locked file) never becomes one: applying stops, and nothing of the entry stays.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftdjango.applier.entries import Applied
    from raftdjango.writeset import Verdict

_SAME_EVERYWHERE = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_AUTH,
    }
)
_NO_CODE_SAME_EVERYWHERE = (
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.OperationalError,
    sqlite3.Warning,
    OverflowError,
    UnicodeError,
)


class EnvironmentFault(Exception):
    """This node cannot apply an entry for a reason of its own.  It must stop, never skip."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.applied: list[Applied] = []
        """What the same call had applied and committed before."""


class Locked(EnvironmentFault):
    """Another process held the write lock beyond patience.  Nothing was applied; call again."""


class OutOfOrder(EnvironmentFault):
    """An entry that does not follow the applied index: the caller and the database disagree."""


class VerificationFailed(EnvironmentFault):
    """Verify mode: after applying, the touched tables differ from the speculative run's."""


class Refused(Exception):
    """The entry in progress gets this verdict; what it did so far is undone."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def is_same_everywhere(error: Exception) -> bool:
    """Would every node with the same database and entry meet this error?"""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Raised by Python's module itself: a wrong number of parameters, text that is no UTF-8.
        return isinstance(error, _NO_CODE_SAME_EVERYWHERE)
    return code & 0xFF in _SAME_EVERYWHERE


def is_too_long(error: Exception) -> bool:
    """Did SQLite meet a value or a row beyond its limit?"""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_TOOBIG


def message_of(error: Exception) -> str:
    """The error in SQLite's words; what Python itself words differs between its versions."""
    if getattr(error, "sqlite_errorcode", None) is None:
        return "the statement or its parameters are not acceptable to SQLite"
    return str(error)


def environment_fault(error: Exception, where: str) -> EnvironmentFault:
    """The fault that an SQLite error is to the node."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return EnvironmentFault(f"The database failed {where}: {error} ({name}).")
