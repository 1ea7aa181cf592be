"""The state machine that is replicated: a map, in which every value remembers where it was written.

A command is `number client serial action key [expected] value padding`, a background one just
`number - 0 - padding`.  A client that does not know what became of its command sends it again with
the same serial, so the state machine remembers each client's last result, and never does a command
twice (thesis §6.3): that table is part of the state, and of every snapshot of it.
"""

from __future__ import annotations

import json

from raftcore import Entry, EntryKind
from tests.linearizability.history import Action, Cas, Get, Put

NOBODY = "-"


def encode(number: int, client: str, serial: int, action: Action | None, padding: int) -> bytes:
    match action:
        case Get(key=key):
            text = f"get {key}"
        case Put(key=key, value=value):
            text = f"put {key} {value}"
        case Cas(key=key, expected=expected, value=value):
            text = f"cas {key} {expected} {value}"
        case None:
            text = "-"
    return f"{number} {client} {serial} {text} ".encode() + b"." * padding


def number_of(entry: Entry) -> int:
    """A command's number."""
    return int(entry.data.split(b" ", 1)[0])


class KeyValues:
    """The map of one machine."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[int, int]] = {}
        """Value, and the index of the entry that wrote it."""
        self.sessions: dict[str, tuple[int, object]] = {}
        """By client: the serial of its last command, and the result."""

    def snapshot(self) -> bytes:
        """All of it; equal states give equal bytes."""
        return json.dumps([self.values, self.sessions], sort_keys=True).encode()

    @classmethod
    def restored(cls, snapshot: bytes) -> KeyValues:
        """The state that a snapshot holds."""
        state = cls()
        values, sessions = json.loads(snapshot)
        state.values = {key: tuple(value) for key, value in values.items()}
        state.sessions = {client: tuple(session) for client, session in sessions.items()}
        return state

    def get(self, key: str) -> int | None:
        return self.values.get(key, (None, 0))[0]

    def apply(self, entry: Entry) -> object:
        """Apply an entry; the result of its command."""
        if entry.kind is not EntryKind.COMMAND:
            return None
        _, client, serial, *action = entry.data.decode().split(" ")
        if client == NOBODY:
            return None
        done, result = self.sessions.get(client, (0, None))
        if int(serial) > done:
            result = self._do(action, entry.index)
            self.sessions[client] = (int(serial), result)
        return result

    def _do(self, action: list[str], index: int) -> object:
        match action:
            case ["get", key, *_]:
                return self.get(key)
            case ["put", key, value, *_]:
                self.values[key] = (int(value), index)
            case ["cas", key, expected, value, *_]:
                if str(self.get(key)) != expected:
                    return False
                self.values[key] = (int(value), index)
                return True
        return None
