"""Parents are deleted while children are born to them; there are no orphans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from tests.workloads.history import Operation
from tests.workloads.kinds.base import NUMBERS, Client, Declined, Findings, Workload
from tests.workloads.models import Child, Parent

WINDOW_S = 0.4


class Parents(Workload):
    name = "parents"
    promise = "foreign keys hold on every node and in every view, whoever deletes what meanwhile"

    def choose(self, client: Client) -> tuple[str, Any]:
        """Everybody makes one parent in each window, and anybody may add to it or delete it."""
        window = client.window(WINDOW_S)
        if client.memory.get("window") != window:
            client.memory["window"] = window
            return "parent", window * NUMBERS + client.number
        parent = window * NUMBERS + client.rng.choice(self._numbers(client))
        kind = client.rng.choices(["child", "child in a block", "delete", "look"], [4, 3, 1, 1])[0]
        if kind in {"delete", "look"}:
            return kind, parent
        return kind, [parent, client.unique()]

    def _numbers(self, client: Client) -> range:
        first = client.number - client.number % client.clients
        return range(first, first + min(client.clients, 4))

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        match action:
            case "parent":
                Parent.objects.create(pk=argument)
                return None
            case "delete":
                with transaction.atomic():
                    client.dawdle()
                    return Parent.objects.filter(pk=argument).delete()[0]
            case "look":
                return self._orphans()
        number, token = argument
        if action == "child":
            Child.objects.create(parent_id=number, token=token)
            return None
        with transaction.atomic():
            parent = Parent.objects.filter(pk=number).first()
            if parent is None:
                raise Declined("no such parent")
            client.dawdle()
            Child.objects.create(parent=parent, token=token)
        return None

    def _orphans(self) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT c.token FROM workloads_child c LEFT JOIN workloads_parent p "
                "ON p.id = c.parent_id WHERE p.id IS NULL"
            )
            return [token for (token,) in cursor.fetchall()]

    def final(self) -> Any:
        parents = list(Parent.objects.values_list("pk", flat=True))
        return {
            "parents": parents,
            "children": list(Child.objects.values_list("parent_id", "token")),
        }

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        parents = set(final["parents"])
        children = {token: parent for parent, token in final["children"]}
        violations = [
            f"child {token} of {parent} is an orphan"
            for token, parent in children.items()
            if parent not in parents
        ]
        deletes: dict[int, list[Operation]] = defaultdict(list)
        for operation in operations:
            if operation.action == "delete" and not operation.failed and operation.result != 0:
                deletes[operation.argument].append(operation)
            if operation.action == "look" and operation.ok and operation.result:
                violations.append(f"orphans in a view: {operation}")
        for number, found in deletes.items():
            if number in parents and any(o.ok for o in found):
                violations.append(f"deleted, but there: {found[0]}")
            if sum(o.ok for o in found) > 1:
                violations.append(f"deleted twice: {', '.join(map(str, found))}")
        for operation in operations:
            violations += _judge_birth(operation, deletes, parents, children)
        refused = sum("child" in o.action and o.failed for o in operations)
        missing = (
            [] if refused and any(o.ok for found in deletes.values() for o in found) else ["a race"]
        )
        return Findings(violations, missing)


def _judge_birth(
    operation: Operation,
    deletes: dict[int, list[Operation]],
    parents: set[int],
    children: dict[int, int],
) -> list[str]:
    if operation.action == "parent":
        lost = operation.ok and operation.argument not in parents | deletes.keys()
        return [f"lost: {operation}"] if lost else []
    if operation.action not in {"child", "child in a block"}:
        return []
    parent, token = operation.argument
    if operation.failed and token in children:
        return [f"failed, but there: {operation}"]
    if not operation.ok:
        return []
    if parent not in deletes and token not in children:
        return [f"lost: {operation}"]
    for delete in deletes.get(parent, []):
        if delete.ok and delete.returned is not None and delete.returned < operation.called:
            return [f"born to what was deleted by {delete}: {operation}"]
    return []
