"""Where a level is in force: blocks and functions, nested, for one database or all.

Kept in a context variable, so that it holds in the threads and tasks that asgiref and asyncio carry
on in.  Nothing here reads or waits: connections ask `in_force` before they take a view.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from raftdjango.conf import ENGINE, get_settings, replicated_aliases
from raftdjango.consistency.levels import (
    Level,
    at_least_level,
    bounded_level,
    linearizable_level,
    parse_level,
)
from raftdjango.consistency.recording import last_noted

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")


class Scope:
    """A level in force, and since when."""

    __slots__ = ("alias", "entered_at", "level", "outer", "owner")

    def __init__(
        self,
        level: Level,
        alias: str | None,
        entered_at: float,
        outer: Scope | None = None,
        owner: Consistency | None = None,
    ) -> None:
        self.owner = owner
        self.level = level
        self.alias = alias
        """None: every replicated database."""
        self.entered_at = entered_at
        self.outer = outer


_innermost: ContextVar[Scope | None] = ContextVar("raftdjango_consistency", default=None)


def in_force(alias: str) -> Scope | None:
    """What reads of a database have to show; None where any view will do."""
    scope = _innermost.get()
    while scope is not None and scope.alias is not None and scope.alias != alias:
        scope = scope.outer
    if scope is None:
        scope = _default(get_settings().default_consistency)
    return None if scope.level.is_local else scope


@functools.lru_cache(maxsize=16)
def _default(text: str) -> Scope:
    try:
        level = parse_level(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"RAFTDJANGO['DEFAULT_CONSISTENCY']: {error}") from error
    return Scope(level, None, float("-inf"))


def _without(scope: Scope | None, owner: Consistency) -> Scope | None:
    """The scopes without the innermost of this owner's.

    That need not be the innermost of all: a generator may leave its block while others are in theirs.
    """
    if scope is None or scope.owner is owner:
        return scope.outer if scope is not None else None
    return Scope(
        scope.level, scope.alias, scope.entered_at, _without(scope.outer, owner), scope.owner
    )


class Consistency:
    """What `linearizable()` and its like give: a context manager and a decorator.

    May be entered several times, by several threads at once: all that it holds is what was asked for.
    """

    def __init__(self, level: Level, using: str | None = None) -> None:
        self.level = level
        self.using = using

    def __enter__(self) -> Self:
        """From here on, in this block."""
        self._check()
        outer = _innermost.get()
        _innermost.set(Scope(self.level, self.using, time.monotonic(), outer, self))
        return self

    def __exit__(self, *exc: object) -> None:
        """This block's level is in force no more."""
        _innermost.set(_without(_innermost.get(), self))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Have a function, or coroutine function, run in such a block."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            name = getattr(function, "__qualname__", function)
            raise TypeError(
                f"{name} is a generator: its body would run after the block. Use with inside of it, "
                "or return a list."
            )
        if iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return run_async  # type: ignore[return-value]

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return run

    def _check(self) -> None:
        aliases = replicated_aliases()
        if self.using is not None and self.using not in aliases:
            raise ImproperlyConfigured(
                f"{self.using!r} is not a replicated database. Those are the aliases in DATABASES "
                f"whose ENGINE is {ENGINE!r}: {', '.join(aliases) or 'none'}."
            )
        if self.level.index and self.using is None and len(aliases) > 1:
            raise ImproperlyConfigured(
                "A log index belongs to one database, and there are several: "
                f"{', '.join(aliases)}. Say which: at_least({self.level.index}, using=...)."
            )


@overload
def linearizable(using: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def linearizable(using: str | None = None, *, timeout_s: float | None = None) -> Consistency: ...
def linearizable(
    using: Callable[..., Any] | str | None = None, *, timeout_s: float | None = None
) -> Any:
    """Each read shows all that was acknowledged, by whatever node, before it began."""
    if callable(using):
        return Consistency(linearizable_level())(using)
    return Consistency(linearizable_level(timeout_s), using)


def bounded(
    seconds: float, using: str | None = None, *, timeout_s: float | None = None
) -> Consistency:
    """Each read shows all that was acknowledged so many seconds before it began, or earlier."""
    return Consistency(bounded_level(seconds, timeout_s), using)


def at_least(
    index: int, using: str | None = None, *, timeout_s: float | None = None
) -> Consistency:
    """Each read shows the database as of this log index, or later; see `last_write()`."""
    return Consistency(at_least_level(index, timeout_s), using)


@overload
def local(using: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def local(using: str | None = None) -> Consistency: ...
def local(using: Callable[..., Any] | str | None = None) -> Any:
    """Reads show what this machine has, at once, whatever the cluster does."""
    if callable(using):
        return Consistency(Level())(using)
    return Consistency(Level(), using)


def last_write(using: str | None = None) -> int:
    """Log index of the last write of this thread or task, and what it awaited; 0 if there was none.

    Hand it to whoever is to see that write on another machine: `with at_least(index): ...`.  What another
    task wrote (of `asyncio.gather()`, say) is known to that task: take it there.
    """
    alias = using
    if alias is None:
        aliases = replicated_aliases()
        if len(aliases) != 1:
            raise ImproperlyConfigured(
                "A log index belongs to one database. Say which: last_write(using=...)."
            )
        (alias,) = aliases
    # The connection is asked where this thread's writes were made in other contexts.
    return last_noted(alias) or int(connections[alias].replication.last_index)  # type: ignore[attr-defined]
