"""Elements are added, some with an outcome that nobody knows at first; none is lost, none is there twice."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from raftdjango.exceptions import CommitUncertain
from tests.workloads.history import Operation, Outcome
from tests.workloads.kinds.base import Client, Declined, Findings, Workload
from tests.workloads.models import Element

RESOLVE_S = 20.0


class Sets(Workload):
    name = "set"
    promise = (
        "exactly once: what was acknowledged is there once, what failed is not, resolve() is right"
    )

    def choose(self, client: Client) -> tuple[str, Any]:
        how = client.rng.choice(["create", "create", "block", "bulk"])
        count = 1 if how == "create" else 3
        return how, [client.unique() for _ in range(count)]

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        try:
            self._add(action, argument)
        except CommitUncertain as uncertain:
            if client.rng.random() < 0.3:
                raise
            match uncertain.resolve(RESOLVE_S):
                case None:
                    raise
                case False:
                    raise Declined("resolved: it was not made") from uncertain
                case True:
                    return "resolved"
        return None

    def _add(self, action: str, values: list[int]) -> None:
        match action:
            case "create":
                Element.objects.create(value=values[0])
            case "block":
                with transaction.atomic():
                    for value in values:
                        Element.objects.create(value=value)
            case "bulk":
                Element.objects.bulk_create(Element(value=value) for value in values)

    def final(self) -> Any:
        return list(Element.objects.values_list("value", flat=True))

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        there = Count(final)
        violations = [
            f"{element} is there {count} times" for element, count in there.items() if count > 1
        ]
        for operation in operations:
            present = [element in there for element in operation.argument]
            if operation.ok and not all(present):
                violations.append(f"lost: {operation}")
            elif operation.failed and any(present):
                violations.append(f"failed, but there: {operation}")
            elif any(present) and not all(present):
                violations.append(f"there in part: {operation}")
        known = {element for operation in operations for element in operation.argument}
        violations += [f"{element} is there, added by nobody" for element in there.keys() - known]
        missing = [] if any(o.ok for o in operations) else ["an element that was added"]
        return Findings(violations, missing)


def uncertain(operations: Sequence[Operation]) -> int:
    """How many did not know at first what came of them."""
    return sum(
        o.outcome is Outcome.UNKNOWN or o.result == "resolved" or "resolved" in o.error
        for o in operations
    )
