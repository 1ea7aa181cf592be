"""What a workload is: operations that clients choose and perform, and a judgement of what came of them."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.workloads.history import Operation

NUMBERS = 100_000
"""More than there are clients in a run."""


@dataclass
class Client:
    """One thread of one process, on one node."""

    name: str
    number: int
    """Unique in the run, from 0."""
    node: str
    clients: int
    """How many there are of this workload, on all nodes."""
    started: float
    """When the run began, the same for all."""
    seed: int
    sites: dict[str, int]
    """Where each node serves web pages: its port."""

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed} {self.name}")
        self.memory: dict[str, Any] = {}
        """For the workload's own use."""
        self._count = 0

    def unique(self) -> int:
        """A number that no other client has, nor this one before."""
        self._count += 1
        return self._count * NUMBERS + self.number

    def window(self, seconds: float) -> int:
        """Number of the time span that now is in: clients meet on the same rows, then move on."""
        return int((time.monotonic() - self.started) / seconds)

    def dawdle(self, seconds_max: float = 0.004) -> None:
        """Give others the chance to come in between."""
        if self.rng.random() < 0.3:
            time.sleep(self.rng.random() * seconds_max)


class Declined(Exception):
    """The client found that there was nothing to do: the operation failed, and changed nothing."""


@dataclass(frozen=True)
class Findings:
    """What a judgement came to."""

    violations: Sequence[str]
    missing: Sequence[str] = ()
    """What did not happen and must, or the run proves less than it says."""


class Workload(ABC):
    """Stateless: clients in other processes have instances of their own."""

    name: ClassVar[str]
    promise: ClassVar[str]
    """What a run of it proves, in one line."""

    def unavailable(self) -> str:
        """Why it cannot run; empty if it can."""
        return ""

    def prepare(self, seconds: float) -> None:  # noqa: B027 - most need nothing
        """Make the rows that must be there first; on one node, once."""

    @abstractmethod
    def choose(self, client: Client) -> tuple[str, Any]:
        """The next operation: action and argument, both for JSON."""

    @abstractmethod
    def perform(self, client: Client, action: str, argument: Any) -> Any:
        """Do it; the result, for JSON.  What it raises tells the outcome."""

    def final(self) -> Any:
        """What is there when everything has ended, for JSON."""
        return None

    @abstractmethod
    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        """Hold what clients were told against what may be."""
