"""What clients did and were told, as JSON lines: one when an operation begins, one when it ends.

Times are of the monotonic clock, which all processes of a machine share.  An operation that never
ended, or that ended without its client learning what came of it, is of unknown outcome.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

UNEXPECTED = "unexpected: "
"""Begins the error of an operation that raised what none of its promises allows."""


class Outcome(StrEnum):
    """What a client knows when its operation has ended."""

    OK = "ok"
    FAIL = "fail"
    """It did not happen, and never will."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that one client did."""

    process: str
    node: str
    workload: str
    action: str
    argument: Any
    called: float
    returned: float | None
    """None if it never returned."""
    outcome: Outcome
    result: Any = None
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def failed(self) -> bool:
        return self.outcome is Outcome.FAIL

    def __str__(self) -> str:
        end = "?" if self.returned is None else f"{self.returned:.6f}"
        told = f" gives {json.dumps(self.result)}" if self.ok else f" {self.outcome} {self.error}"
        argument = json.dumps(self.argument)
        return f"[{self.called:.6f}, {end}] {self.process}: {self.action} {argument}{told}"


class Recorder:
    """Writes down operations as they happen; what a killed process has begun is there."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", buffering=1)
        self._mutex = threading.Lock()
        self._count = 0

    def invoke(self, process: str, node: str, workload: str, action: str, argument: Any) -> int:
        """Before the operation begins; its number."""
        with self._mutex:
            self._count += 1
            number = self._count
        self._write(
            is_="invoke",
            process=process,
            number=number,
            node=node,
            workload=workload,
            action=action,
            argument=argument,
        )
        return number

    def end(
        self, process: str, number: int, outcome: Outcome, result: Any = None, error: str = ""
    ) -> None:
        """When it has ended."""
        self._write(is_=outcome, process=process, number=number, result=result, error=error)

    def close(self) -> None:
        self._file.close()

    def _write(self, is_: str, **fields: Any) -> None:
        line = json.dumps({"is": is_, "at": time.monotonic(), **fields})
        with self._mutex:
            self._file.write(line + "\n")


def read(paths: Iterable[Path]) -> list[Operation]:
    """The operations of all files, in the order of their calls."""
    operations = [operation for path in paths for operation in _read(path)]
    return sorted(operations, key=lambda operation: operation.called)


def _read(path: Path) -> Iterable[Operation]:
    begun: dict[tuple[str, int], dict[str, Any]] = {}
    ended: dict[tuple[str, int], dict[str, Any]] = {}
    for text in path.read_text().splitlines(keepends=True):
        if not text.endswith("\n"):
            break  # Killed while it wrote this; nothing was promised to anybody yet.
        line = json.loads(text)
        kind = begun if line["is"] == "invoke" else ended
        kind[line["process"], line["number"]] = line
    for key, line in begun.items():
        end = ended.get(key, {"at": None, "is": "unknown", "result": None, "error": "no return"})
        yield Operation(
            process=line["process"],
            node=line["node"],
            workload=line["workload"],
            action=line["action"],
            argument=line["argument"],
            called=line["at"],
            returned=end["at"],
            outcome=Outcome(end["is"]),
            result=end["result"],
            error=end["error"],
        )


def write(path: Path, operations: Iterable[Operation]) -> None:
    """One line per operation: what is kept of a run that failed."""
    with path.open("w") as file:
        for operation in operations:
            file.write(json.dumps(asdict(operation)) + "\n")


def load(path: Path) -> list[Operation]:
    """What `write` wrote."""
    lines = map(json.loads, path.read_text().splitlines())
    return [Operation(**{**line, "outcome": Outcome(line["outcome"])}) for line in lines]
