"""The state machine that is replicated: a map, in which every value remembers where it was written.

A command is `number action key [expected] value padding`, a background one just `number - padding`.
"""

from __future__ import annotations

from collections.abc import Iterable

from raftcore import Entry, EntryKind
from tests.linearizability.history import Action, Cas, Get, Put


def encode(number: int, action: Action | None, padding: int) -> bytes:
    match action:
        case Get(key=key):
            text = f"get {key}"
        case Put(key=key, value=value):
            text = f"put {key} {value}"
        case Cas(key=key, expected=expected, value=value):
            text = f"cas {key} {expected} {value}"
        case None:
            text = "-"
    return f"{number} {text} ".encode() + b"." * padding


def number_of(entry: Entry) -> int:
    """A command's number."""
    return int(entry.data.split(b" ", 1)[0])


class KeyValues:
    """The map of one machine."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.values: dict[str, tuple[int, int]] = {}
        """Value, and the index of the entry that wrote it."""
        for entry in entries:
            self.apply(entry)

    def get(self, key: str) -> int | None:
        return self.values.get(key, (None, 0))[0]

    def apply(self, entry: Entry) -> object:
        """Apply an entry; the result of its command."""
        if entry.kind is not EntryKind.COMMAND:
            return None
        match entry.data.decode().split(" "):
            case [_, "get", key, *_]:
                return self.get(key)
            case [_, "put", key, value, *_]:
                self.values[key] = (int(value), entry.index)
            case [_, "cas", key, expected, value, *_]:
                if str(self.get(key)) != expected:
                    return False
                self.values[key] = (int(value), entry.index)
                return True
        return None
