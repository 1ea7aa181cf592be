"""A hot row: every increment counts once, and on no node it ever goes back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from django.db.models import F

from raftdjango.consistency import bounded, linearizable, local
from tests.workloads.history import Operation, Outcome
from tests.workloads.kinds.base import Client, Findings, Workload
from tests.workloads.models import Counter

COUNTERS = range(1, 3)
BOUND_S = 0.3
LEVELS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "read": local,
    "read bounded": partial(bounded, BOUND_S),
    "read linearizable": linearizable,
}


class Counters(Workload):
    name = "counter"
    promise = "hot rows lose nothing; reads on a node never go back, show its own writes, and are as fresh as asked"

    def prepare(self, seconds: float) -> None:
        Counter.objects.bulk_create(Counter(id=n) for n in COUNTERS)

    def choose(self, client: Client) -> tuple[str, Any]:
        action = client.rng.choices(["add", *LEVELS], [2, 3, 1, 1])[0]
        return action, client.rng.choice(COUNTERS)

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        if action == "add":
            return Counter.objects.filter(pk=argument).update(value=F("value") + 1)
        with LEVELS[action]():
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
        seen = {operation.action for operation in operations if operation.ok}
        return Findings(violations, [action for action in ("add", *LEVELS) if action not in seen])


def _judge_node(here: list[Operation], everywhere: list[Operation]) -> list[str]:
    """Each read on a node, by what had been seen and written there before it began."""
    violations = []
    seen = _highest((o.returned, o.result) for o in here if o.action != "add")
    own = sorted(o.returned for o in here if o.action == "add" and o.returned is not None)
    all_ended = sorted(
        o.returned for o in everywhere if o.action == "add" and o.ok and o.returned is not None
    )
    begun = sorted(o.called for o in everywhere if o.action == "add" and not o.failed)
    for read in here:
        if read.action == "add" or read.returned is None:
            continue
        before = bisect_left(seen, (read.called, -1))
        if before and read.result < seen[before - 1][1]:
            violations.append(f"went back from {seen[before - 1][1]}: {read}")
        if read.result < bisect_left(own, read.called):
            violations.append(f"{bisect_left(own, read.called)} were acknowledged here: {read}")
        since = {"read bounded": read.called - BOUND_S, "read linearizable": read.called}
        ended = bisect_left(all_ended, since.get(read.action, float("-inf")))
        if read.result < ended:
            violations.append(f"{ended} had been acknowledged anywhere: {read}")
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
