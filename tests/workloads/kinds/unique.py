"""Clients on all nodes claim the same unique names at the same time; one of them gets each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from tests.workloads.history import Operation, Outcome
from tests.workloads.kinds.base import Client, Findings, Workload
from tests.workloads.models import Claim

WINDOW_S, PER_WINDOW = 0.25, 2


class UniqueNames(Workload):
    name = "unique"
    promise = (
        "a unique name goes to one client, whom everybody is told; IntegrityError has a reason"
    )

    def choose(self, client: Client) -> tuple[str, Any]:
        name = f"{client.window(WINDOW_S)}.{client.rng.randrange(PER_WINDOW)}"
        owner = f"{client.name}/{client.unique()}"
        return client.rng.choice(["create", "create in a block", "get or create"]), [name, owner]

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        name, owner = argument
        if action == "get or create":
            claim, created = Claim.objects.get_or_create(name=name, defaults={"owner": owner})
            return [claim.owner, created]
        if action == "create":
            Claim.objects.create(name=name, owner=owner)
        else:
            with transaction.atomic():
                client.dawdle()
                Claim.objects.create(name=name, owner=owner)
        return [owner, True]

    def final(self) -> Any:
        return list(Claim.objects.values_list("name", "owner"))

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        owners: dict[str, list[str]] = defaultdict(list)
        for name, owner in final:
            owners[name].append(owner)
        by_name: dict[str, list[Operation]] = defaultdict(list)
        for operation in operations:
            by_name[operation.argument[0]].append(operation)
        violations = [
            f"{name} belongs to {len(who)}: {who}" for name, who in owners.items() if len(who) > 1
        ]
        for name, part in by_name.items():
            violations += _judge_name(part, owners.get(name, [None])[0])
        refused = sum(_refused(operation) for operation in operations)
        found = sum(o.ok and not o.result[1] for o in operations)
        missing = [] if refused and found else ["a race lost by create, and by get_or_create"]
        return Findings(violations, missing)


def _refused(operation: Operation) -> bool:
    return operation.error.startswith(("IntegrityError", "ConstraintConflict"))


def _judge_name(part: list[Operation], owner: Any) -> list[str]:
    violations = []
    for operation in part:
        mine = operation.argument[1]
        if operation.ok and operation.result != [owner, mine == owner]:
            violations.append(f"the owner is {owner}: {operation}")
        elif operation.failed and mine == owner:
            violations.append(f"failed, but is the owner: {operation}")
        elif _refused(operation) and not any(
            other is not operation
            and other.outcome is not Outcome.FAIL
            and operation.returned is not None
            and other.called < operation.returned
            for other in part
        ):
            violations.append(f"nobody else had the name: {operation}")
    return violations
