"""What a core does, as events: the hooks that `RaftCore(trace=...)` puts in place.

Recorded is all that comes from outside, which is inputs, what the core reads of its log and the
random bits it draws, and all that leaves it; with the first the second can be computed again, and
`raftcore.trace` does.  Between them stands the state after each input.  A core that is not traced
has no hooks: it does not even ask whether it should.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from raftcore.types import NodeId, Role

if TYPE_CHECKING:
    from raftcore.core import RaftCore
    from raftcore.storage.protocol import LogReader

NOT_RECORDED = frozenset({"next_timer"})
"""Public methods of the core that change nothing and tell what events tell already.  All others are
inputs; none of them calls another, or a replay would do it twice."""


@dataclass(frozen=True, slots=True)
class Started:
    """A core was made; how, by the names of its constructor."""

    arguments: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Called:
    """An input of this name begins."""

    name: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Returned:
    """It ends, with this; effects are what `take_effects` returns."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """It ends with this error."""

    error: str
    text: str


@dataclass(frozen=True, slots=True)
class LogRead:
    """A method of the log was called."""

    name: str
    arguments: tuple[Any, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class LogReadFailed:
    """A method of the log was called, and raised."""

    name: str
    arguments: tuple[Any, ...]
    error: str
    text: str


@dataclass(frozen=True, slots=True)
class LogChanged:
    """An attribute of the log has another value than when it was last looked at."""

    name: str
    look: int
    """At which look, counted from 1, it had this value for the first time."""
    value: Any


@dataclass(frozen=True, slots=True)
class Drawn:
    """Random bits, or with 0 bits a fraction of 1."""

    bits: int
    value: float


@dataclass(frozen=True, slots=True)
class State:
    """The paper's state of a server (Figure 2) after an input that changed something of it."""

    role: Role
    current_term: int
    voted_for: NodeId | None
    leader: NodeId | None
    last_index: int
    last_term: int
    stable_index: int
    commit_index: int
    applied_index: int
    membership_index: int
    first_index: int
    snapshot_index: int
    """What the newest snapshot covers; 0 without one."""
    votes: tuple[tuple[NodeId, bool], ...]
    """At a candidate: by voter."""
    followers: tuple[tuple[NodeId, str, int, int], ...]
    """At a leader: state, next and match index of each."""


Event = Started | Called | Returned | Raised | LogRead | LogReadFailed | LogChanged | Drawn | State
Trace = Callable[[Event], None]


def begin(
    trace: Trace, log: LogReader, rng: random.Random, **arguments: Any
) -> tuple[LogReader, random.Random]:
    """The core's log and random numbers, watched."""
    trace(Started(tuple(arguments.items())))
    return cast("LogReader", _Log(log, trace)), _Random(rng, trace)


def attach(core: RaftCore, trace: Trace) -> None:
    """Have every input of this core recorded from now on."""
    recorder = _Recorder(core, trace)
    for name, method in vars(type(core)).items():
        if callable(method) and not name.startswith("_") and name not in NOT_RECORDED:
            setattr(core, name, recorder.recorded(name, getattr(core, name)))
    recorder.look()


class _Recorder:
    def __init__(self, core: RaftCore, trace: Trace) -> None:
        self._core = core
        self._trace = trace
        self._last: State | None = None

    def recorded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self._trace(Called(name, arguments, tuple(keywords.items())))
            try:
                value = method(*arguments, **keywords)
            except Exception as error:
                self._trace(Raised(type(error).__name__, str(error)))
                raise
            if value is not None:
                self._trace(Returned(value))
            self.look()
            return value

        return call

    def look(self) -> None:
        """Record the state if it has changed."""
        state = _state_of(self._core)
        if state != self._last:
            self._last = state
            self._trace(state)


def _state_of(core: RaftCore) -> State:
    node = core._node
    log, leading = node.log, node.leading
    progress = leading.progress if leading is not None else {}
    return State(
        role=node.role,
        current_term=node.current_term,
        voted_for=node.voted_for,
        leader=node.leader,
        last_index=log.last_index,
        last_term=log.last_term,
        stable_index=log.stable_index,
        commit_index=log.commit_index,
        applied_index=core.applied_index,
        membership_index=core.membership_index,
        first_index=log.first_index,
        snapshot_index=log.snapshot_index,
        votes=tuple(sorted(node.votes.items())),
        followers=tuple(
            (member, known.state.name, known.next_index, known.match_index)
            for member, known in progress.items()
        ),
    )


class _Log:
    """A `LogReader`, whatever belongs to one."""

    def __init__(self, log: LogReader, trace: Trace) -> None:
        self._log = log
        self._trace = trace
        self._looks: dict[str, tuple[int, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._log, name)
        if callable(value):
            return self._read(name, value)
        looks, before = self._looks.get(name, (0, None))
        self._looks[name] = (looks + 1, value)
        if not looks or value != before:
            self._trace(LogChanged(name, looks + 1, value))
        return value

    def _read(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                value = method(*arguments)
            except Exception as error:
                self._trace(LogReadFailed(name, arguments, type(error).__name__, str(error)))
                raise
            self._trace(LogRead(name, arguments, value))
            return value

        return call


class _Random(random.Random):
    """Draws bits from another; what is made of bits is the same then as without the trace."""

    def __init__(self, rng: random.Random, trace: Trace) -> None:
        self._rng = rng
        self._trace = trace
        super().__init__(0)

    def getrandbits(self, k: int, /) -> int:
        value = self._rng.getrandbits(k)
        self._trace(Drawn(k, value))
        return value

    def random(self) -> float:
        value = self._rng.random()
        self._trace(Drawn(0, value))
        return value
