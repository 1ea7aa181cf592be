"""A hot row: every increment counts once, and on no node it ever goes back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from django.db.models import F

from tests.workloads.history import Operation, Outcome
from tests.workloads.kinds.base import Client, Findings, Workload
from tests.workloads.models import Counter

COUNTERS = range(1, 3)


class Counters(Workload):
    name = "counter"
    promise = (
        "hot rows lose nothing; on each node reads are monotonic and show the node's own writes"
    )

    def prepare(self, seconds: float) -> None:
        Counter.objects.bulk_create(Counter(id=n) for n in COUNTERS)

    def choose(self, client: Client) -> tuple[str, Any]:
        return client.rng.choices(["add", "read"], [1, 2])[0], client.rng.choice(COUNTERS)

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        if action == "add":
            return Counter.objects.filter(pk=argument).update(value=F("value") + 1)
        return Counter.objects.get(pk=argument).value

    def final(self) -> Any:
        return dict(Counter.objects.values_list("id", "value"))

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        violations = []
        for number in COUNTERS:
            part = [operation for operation in operations if operation.argument == number]
            added = [o for o in part if o.action == "add"]
            certain = sum(operation.ok for operation in added)
            possible = certain + sum(o.outcome is Outcome.UNKNOWN for o in added)
            if not certain <= final[str(number)] <= possible:
                violations.append(
                    f"counter {number} is {final[str(number)]} after {certain} to {possible} increments"
                )
            violations += [f"an increment of no row: {o}" for o in added if o.ok and o.result != 1]
            for node in sorted({operation.node for operation in part}):
                violations += _judge_node([o for o in part if o.node == node and o.ok], part)
        reads = any(operation.ok and operation.action == "read" for operation in operations)
        return Findings(violations, [] if reads else ["a read"])


def _judge_node(here: list[Operation], everywhere: list[Operation]) -> list[str]:
    """Each read on a node, by what had been seen and written there before it began."""
    violations = []
    seen = _highest((o.returned, o.result) for o in here if o.action == "read")
    own = sorted(o.returned for o in here if o.action == "add" and o.returned is not None)
    begun = sorted(o.called for o in everywhere if o.action == "add" and not o.failed)
    for read in here:
        if read.action != "read" or read.returned is None:
            continue
        before = bisect_left(seen, (read.called, -1))
        if before and read.result < seen[before - 1][1]:
            violations.append(f"went back from {seen[before - 1][1]}: {read}")
        if read.result < bisect_left(own, read.called):
            violations.append(f"{bisect_left(own, read.called)} were acknowledged here: {read}")
        if read.result > bisect_left(begun, read.returned):
            violations.append(f"only {bisect_left(begun, read.returned)} had begun: {read}")
    return violations


def _highest(reads: Any) -> list[tuple[float, int]]:
    """When, and the highest value that had been read by then."""
    highest, found = -1, []
    for returned, value in sorted(reads):
        highest = max(highest, value)
        found.append((returned, highest))
    return found
