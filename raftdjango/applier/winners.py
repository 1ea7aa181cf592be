"""Which entry won: a node's memory of what was applied lately, to tell the losers.

A hint for people, outside of the verdict: nodes that were restarted, or whose loser comes late, have
nothing to say.  Nothing is looked into before somebody has lost.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from raftdjango.writeset import (
    BlindDelete,
    BlindUpdate,
    Delete,
    Insert,
    Update,
    VerdictKind,
    WriteSet,
    decode_command,
)

if TYPE_CHECKING:
    from raftdjango.writeset import Operation, Row, Verdict

ENTRIES_MAX = 256
BYTES_MAX = 16 * 1024
"""Of an entry; larger ones are not remembered."""


class Winners:
    """The last entries that were applied.  Noted by one thread, asked by another."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, bytes]] = deque(maxlen=ENTRIES_MAX)

    def note(self, index: int, command: bytes, verdict: Verdict | None) -> None:
        """An entry was applied, and this is what it came to."""
        if (
            verdict is not None
            and verdict.kind is VerdictKind.APPLIED
            and len(command) <= BYTES_MAX
        ):
            self._entries.append((index, command))

    def find(self, index: int, verdict: Verdict) -> int:
        """The entry that the one at `index` lost to, by the row its verdict names; 0: not known."""
        if verdict.kind is not VerdictKind.CONFLICT or not verdict.key:
            return 0  # A constraint names the loser's own row.
        for noted, command in reversed(tuple(self._entries)):
            if noted < index and _changed(command, verdict.table, verdict.key):
                return noted
        return 0


def _changed(command: bytes, table: str, key: Row) -> bool:
    body = decode_command(command).body
    return isinstance(body, WriteSet) and any(
        each.table.name == table and key in _keys(each)
        for each in body.operations
        if isinstance(each, Insert | Update | Delete | BlindUpdate | BlindDelete)
    )


def _keys(operation: Operation) -> tuple[Row, ...]:
    if isinstance(operation, Insert):
        return (operation.table.key_of(operation.row),)
    if isinstance(operation, BlindUpdate | BlindDelete):
        return operation.keys
    if isinstance(operation, Update) and not operation.changes:
        return ()  # A read that must still hold.
    return (operation.key,) if isinstance(operation, Update | Delete) else ()
