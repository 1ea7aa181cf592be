"""Single rows, written, compared and read as if there were one copy of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import F

from raftdjango.consistency import linearizable
from tests.linearizability import history as linear
from tests.linearizability.checker import Undecided, find_counterexample
from tests.workloads.history import Operation
from tests.workloads.kinds.base import Client, Findings, Workload
from tests.workloads.models import Register

WINDOW_S, PER_WINDOW = 1.5, 3
"""Rows are left after a while: what is of unknown outcome makes every later operation dearer."""


class Registers(Workload):
    name = "register"
    promise = "single rows are linearizable: writes, validated blocks, linearizable reads"

    def prepare(self, seconds: float) -> None:
        count = int(seconds / WINDOW_S + 60) * PER_WINDOW
        Register.objects.bulk_create(Register(id=n) for n in range(count))

    def choose(self, client: Client) -> tuple[str, Any]:
        rng = client.rng
        key = client.window(WINDOW_S) * PER_WINDOW + rng.randrange(PER_WINDOW)
        kind = rng.choice(["write", "compare", "read", "read"])
        if kind == "write":
            return "write", [key, client.unique()]
        if kind == "compare":
            return "compare", [key, client.memory.get(f"seen {key}"), client.unique()]
        return "read", [key, rng.choice(["linearizable", "linearizable block", "validated"])]

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        key, *rest = argument
        if action == "write":
            Register.objects.filter(pk=key).update(value=rest[0])
            return None
        if action == "compare":
            return self._compare(key, *rest)
        value = self._read(client, key, rest[0])
        client.memory[f"seen {key}"] = value
        return value

    def _compare(self, key: int, expected: int | None, value: int) -> bool:
        with transaction.atomic():
            row = Register.objects.select_for_update().get(pk=key)
            same = row.value == expected
            if same:
                row.value = value
            # A block that changes nothing proposes nothing, and has read whatever was here.
            row.touched += 1
            row.save()
        return same

    def _read(self, client: Client, key: int, how: str) -> int | None:
        if how == "linearizable":
            with linearizable():
                return Register.objects.get(pk=key).value
        if how == "linearizable block":
            with linearizable(), transaction.atomic():
                client.dawdle()
                return Register.objects.get(pk=key).value
        with transaction.atomic():
            Register.objects.filter(pk=key).update(touched=F("touched") + 1)
            client.dawdle()
            return Register.objects.get(pk=key).value

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        told = [_linear(operation) for operation in operations if not operation.failed]
        try:
            found = find_counterexample(told)
        except Undecided as undecided:
            return Findings([], [f"a verdict: {undecided}"])
        actions = {operation.action for operation in operations if operation.ok}
        missing = [a for a in ("read", "write", "compare") if a not in actions]
        if not any(operation.ok and operation.result is True for operation in operations):
            missing.append("a comparison that held")
        return Findings([] if found is None else [str(found)], missing)


def _linear(operation: Operation) -> linear.Operation:
    key, *rest = operation.argument
    action: linear.Action
    if operation.action == "write":
        action = linear.Put(key, rest[0])
    elif operation.action == "compare":
        action = linear.Cas(key, rest[0], rest[1])
    else:
        action = linear.Get(key)
    returned = operation.returned if operation.ok else None
    return linear.Operation(operation.process, action, operation.called, returned, operation.result)
