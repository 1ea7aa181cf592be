"""Event loops that run when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Loop:
    """Keeps what is called soon, by whatever thread, until the test runs it."""

    def __init__(self) -> None:
        self.posted: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.closed = False

    def call_soon(self, callback: Callable[..., Any], *arguments: Any) -> None:
        self.posted.append((callback, arguments))

    def call_soon_threadsafe(self, callback: Callable[..., Any], *arguments: Any) -> None:
        if self.closed:
            raise RuntimeError("closed")
        self.posted.append((callback, arguments))

    def run(self) -> None:
        """One iteration: what is called soon meanwhile waits for the next."""
        posted, self.posted = self.posted, []
        for callback, arguments in posted:
            callback(*arguments)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time
