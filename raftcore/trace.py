"""A core's trace as JSON lines: written, read, and run again.

    core = RaftCore(..., trace=TraceWriter(file.write, node_id))
    replay(path.read_text().splitlines())

A line is one event of `raftcore.recording`.  `replay` makes a core from the first, gives it the
recorded inputs, feeds it what it read and drew then, and compares everything that it does.  What a
line holds, and which action of the TLA+ specification it is, stands in docs/internals/trace.md.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from raftcore import changes, config, effects, messages, recording, status, types
from raftcore.core import RaftCore
from raftcore.errors import RaftError
from raftcore.recording import (
    Called,
    Drawn,
    Event,
    LogChanged,
    LogRead,
    LogReadFailed,
    Started,
    State,
)

if TYPE_CHECKING:
    from raftcore.storage.protocol import LogReader

_MODULES = (types, messages, effects, config, changes, recording, status)


class TraceError(RaftError):
    """Lines that are no trace."""


class Divergence(RaftError):
    """A replay did something else than what was recorded."""

    def __init__(self, line: int, recorded: str, replayed: str) -> None:
        self.line = line
        """Number of the line, from 1."""
        self.recorded = recorded
        self.replayed = replayed
        super().__init__(f"Line {line} says\n    {recorded}\nand the replay did\n    {replayed}")


class TraceWriter:
    """Writes a line per event; give it to `RaftCore` as `trace`."""

    def __init__(self, write: Callable[[str], object], node_id: str) -> None:
        self._write = write
        self._node_id = node_id

    def __call__(self, event: Event) -> None:
        line = {"node": self._node_id, **encode(event)}
        self._write(json.dumps(line, separators=(",", ":")) + "\n")


def read(lines: Iterable[str]) -> Iterator[Event]:
    """The events that a `TraceWriter` wrote; without a last line that it did not get to finish."""
    unfinished: TraceError | None = None
    for number, line in enumerate(lines, 1):
        if unfinished is not None:
            raise unfinished
        try:
            value = json.loads(line)
        except ValueError as error:
            unfinished = TraceError(f"Line {number} is no event: {error}")
            continue
        try:
            event = decode(value)
        except (ValueError, KeyError, TypeError) as error:
            raise TraceError(f"Line {number} is no event: {error}") from error
        if not isinstance(event, Event):
            raise TraceError(f"Line {number} is no event")
        yield event


def replay(lines: Iterable[str]) -> RaftCore:
    """Run a recorded core again; the core as it is at the end.

    Raises `Divergence` at the first event that comes out differently, and `TraceError`.
    """
    events = list(read(lines))
    if not events or not isinstance(events[0], Started):
        raise TraceError("A trace begins with a start")
    if not any(isinstance(event, State) for event in events):
        raise TraceError("The trace ends before the core was made")
    comparison = _Comparison(events)
    past = _Past(events)
    arguments = dict(events[0].arguments)
    core = RaftCore(
        arguments.pop("config"),
        cast("LogReader", past),
        rng=past.rng,
        trace=comparison,
        **arguments,
    )
    for event in events:
        if isinstance(event, Called):
            try:
                getattr(core, event.name)(*event.arguments, **dict(event.keywords))
            except Divergence:
                raise
            except Exception:  # noqa: S112 - it is in the trace, and has been compared
                continue
    comparison.end()
    return core


class _Comparison:
    """Takes the replay's events and holds each against the recorded one."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self._next = 0
        self._first: Divergence | None = None

    def __call__(self, event: Event) -> None:
        if self._first is not None:
            # What follows from it, such as the error itself passing through the core.
            raise self._first
        number = self._next
        if number == len(self._events):
            # The recorded process ended in the middle of an input.
            return
        self._next += 1
        replayed, recorded = _text(event), _text(self._events[number])
        if recorded != replayed:
            self._first = Divergence(number + 1, recorded, replayed)
            raise self._first

    def end(self) -> None:
        """Everything recorded has to have happened."""
        if self._next < len(self._events):
            raise Divergence(self._next + 1, _text(self._events[self._next]), "nothing")


class _Past:
    """The log and the random numbers as they were."""

    def __init__(self, events: list[Event]) -> None:
        reads = [event for event in events if isinstance(event, LogRead | LogReadFailed)]
        self._reads: deque[LogRead | LogReadFailed] = deque(reads)
        self._methods = {event.name for event in reads}
        self._changes: dict[str, deque[LogChanged]] = defaultdict(deque)
        for event in events:
            if isinstance(event, LogChanged):
                self._changes[event.name].append(event)
        self._looks: dict[str, tuple[int, Any]] = {}
        self.rng = _PastRandom(event for event in events if isinstance(event, Drawn))

    def __getattr__(self, name: str) -> Any:
        if name in self._methods:
            return self._read
        looks, value = self._looks.get(name, (0, None))
        changes = self._changes[name]
        if changes and changes[0].look == looks + 1:
            value = changes.popleft().value
        self._looks[name] = (looks + 1, value)
        return value

    def _read(self, *_arguments: Any) -> Any:
        # Whether it is the right call the comparison will say.
        if not self._reads:
            raise ReplayedError("a read that was never made")
        event = self._reads.popleft()
        if isinstance(event, LogRead):
            return event.value
        raise type(event.error, (ReplayedError,), {})(event.text)


class ReplayedError(Exception):
    """Stands for an error of the log, of whatever type it was: it has that type's name."""


class _PastRandom(random.Random):
    def __init__(self, draws: Iterable[Drawn]) -> None:
        self._draws = deque(draws)
        super().__init__(0)

    def getrandbits(self, k: int, /) -> int:
        return int(self._draws.popleft().value) if self._draws else 0

    def random(self) -> float:
        return self._draws.popleft().value if self._draws else 0.0


# ---------------------------------------------------------------------- values as JSON


def _named(kind: type) -> Iterator[tuple[str, type]]:
    for module in _MODULES:
        for name, value in vars(module).items():
            if not isinstance(value, type) or value.__module__ != module.__name__:
                continue
            if is_dataclass(value) or issubclass(value, kind):
                yield name, value


_TYPES: dict[str, type] = dict(_named(Enum))


def encode(value: Any) -> Any:
    """A value as JSON has it; what JSON lacks is an object that says what it is."""
    if isinstance(value, Enum):
        return {"is": type(value).__name__, "name": value.name}
    if is_dataclass(value):
        parts = {field.name: encode(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **parts}
    if isinstance(value, bytes):
        return {"is": "bytes", "hex": value.hex()}
    if isinstance(value, frozenset):
        return {"is": "set", "of": sorted(value)}
    if isinstance(value, tuple | list):
        return [encode(part) for part in value]
    return value


def decode(value: Any) -> Any:
    """The value that `encode` was given; lists come back as tuples."""
    if isinstance(value, list):
        return tuple(map(decode, value))
    if not isinstance(value, dict):
        return value
    match value["is"]:
        case "bytes":
            return bytes.fromhex(value["hex"])
        case "set":
            return frozenset(value["of"])
        case name:
            kind = _TYPES[name]
            if issubclass(kind, Enum):
                return kind[value["name"]]
            parts = {key: decode(part) for key, part in value.items() if key not in ("is", "node")}
            return kind(**parts)


def _text(event: Event) -> str:
    return json.dumps(encode(event), separators=(",", ":"))
