"""What clients did and were told, and when: the material that is judged.

Times are numbers on one clock that all clients share.  An operation takes effect at one instant
between its call and its return (Herlihy and Wing, 1990); one whose outcome nobody knows takes
effect at some instant after its call, or never.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

Value = Hashable


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key; the result is its value, None if it has none."""

    key: Hashable

    def __str__(self) -> str:
        return f"get {self.key}"


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key; there is no result."""

    key: Hashable
    value: Value

    def __str__(self) -> str:
        return f"put {self.key} = {self.value}"


@dataclass(frozen=True, slots=True)
class Cas:
    """Write a key if it has a certain value; the result is whether it had."""

    key: Hashable
    expected: Value
    value: Value

    def __str__(self) -> str:
        return f"cas {self.key}: {self.expected} -> {self.value}"


Action = Get | Put | Cas


@dataclass(frozen=True, slots=True)
class Operation:
    """One action of one client.  `returned` is None where the outcome is unknown."""

    client: Hashable
    action: Action
    called: float
    returned: float | None
    result: Value = None

    def __post_init__(self) -> None:
        if self.returned is not None and self.returned < self.called:
            raise ValueError(f"returned before it was called: {self}")

    @property
    def known(self) -> bool:
        """Whether the client learned what came of it."""
        return self.returned is not None

    def __str__(self) -> str:
        if not self.known:
            return f"[{self.called}, ?] {self.client}: {self.action}, outcome unknown"
        told = "" if isinstance(self.action, Put) else f" gives {self.result}"
        return f"[{self.called}, {self.returned}] {self.client}: {self.action}{told}"
