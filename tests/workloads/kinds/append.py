"""Transactions that append to lists and read them, judged by cycles of dependencies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

from django.db import transaction
from django.db.models import F, Max, QuerySet, Value
from django.db.models.functions import Concat

from raftdjango.transaction import atomic_retry
from tests.workloads.anomalies import find_anomalies, violations
from tests.workloads.dependencies import Append, Read, Step, Transaction
from tests.workloads.history import Operation
from tests.workloads.kinds.base import Client, Findings, Workload
from tests.workloads.models import Numbers, Place

WINDOW_S, PER_WINDOW = 2.0, 4
"""Lists are left before they get long."""


class Appends(Workload):
    name = "append"
    promise = "atomic(): snapshot isolation, in the order of each node and of time"
    first_key = 0
    serializable = False

    def block(self) -> AbstractContextManager[Any]:
        return transaction.atomic()

    def choose(self, client: Client) -> tuple[str, Any]:
        rng = client.rng
        first = self.first_key + client.window(WINDOW_S) * PER_WINDOW
        keys = [first + rng.randrange(PER_WINDOW) for _ in range(rng.choice([1, 2, 2, 3, 4]))]
        kinds = rng.choices(["read", "append", "read and append"], [5, 3, 2], k=len(keys))
        steps = [
            [kind, key] if kind == "read" else [kind, key, client.unique()]
            for kind, key in zip(kinds, keys, strict=True)
        ]
        single = ["read"] if self.serializable else ["read", "append"]
        if len(steps) == 1 and kinds[0] in single and rng.random() < 0.5:
            return "statement", steps
        return rng.choices(["block", "retried", "in turn"], [6, 3, 1])[0], steps

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        if action == "statement":
            return [self._step(client, *argument[0])]
        if action != "block":
            first = 0 if action == "in turn" else 3
            retry = atomic_retry(attempts=9, exclusive_after=first, serializable=self.serializable)
            return retry(self._steps)(client, argument)
        with self.block():
            return self._steps(client, argument)

    def _steps(self, client: Client, steps: list[Any]) -> list[Any]:
        return [self._step(client, *step) for step in steps]

    def _step(self, client: Client, kind: str, key: int, element: int | None = None) -> Any:
        client.dawdle()
        if kind == "append":
            assert element is not None
            self.append(client, key, element)
            return None
        if kind == "read":
            return self.read(key)
        assert element is not None
        return self.read_and_append(client, key, element)

    def append(self, client: Client, key: int, element: int) -> None:
        if not Numbers.objects.filter(pk=key).update(text=Concat(F("text"), Value(f" {element}"))):
            Numbers.objects.create(pk=key, text=f" {element}")

    def read(self, key: int) -> list[Any]:
        row = Numbers.objects.filter(pk=key).first()
        return [] if row is None else row.elements()

    def read_and_append(self, client: Client, key: int, element: int) -> list[Any]:
        row = Numbers.objects.filter(pk=key).first()
        client.dawdle()
        if row is None:
            Numbers.objects.create(pk=key, text=f" {element}")
            return []
        found = row.elements()
        row.text += f" {element}"
        row.save()
        return found

    def final(self) -> Any:
        below = self.first_key + FAR
        rows = Numbers.objects.filter(pk__gte=self.first_key, pk__lt=below)
        return {row.pk: row.elements() for row in rows}

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        history = [
            _transaction(f"T{number}", operation) for number, operation in enumerate(operations)
        ]
        lists = {int(key): tuple(elements) for key, elements in final.items()}
        found = find_anomalies(history, lists)
        wrong = violations(found, serializable=self.serializable)
        missing = []
        if not any(o.ok and len(o.argument) > 1 for o in operations):
            missing.append("a block of several steps")
        if not any(o.failed and o.error.startswith("TransactionConflict") for o in operations):
            missing.append("a conflict")
        return Findings([str(anomaly) for anomaly in wrong], missing)


FAR = 1_000_000


class SerializableAppends(Appends):
    name = "append-serializable"
    promise = "serializable(): serializability, in the order of each node and of time"
    first_key = FAR
    serializable = True

    def unavailable(self) -> str:
        return no_serializable()

    def block(self) -> AbstractContextManager[Any]:
        from raftdjango.transaction import serializable

        return serializable()

    # Lists of odd keys have a row for each element, found by a condition and put behind the last by
    # counting: two at once at the same place would be phantoms to each other.

    def append(self, client: Client, key: int, element: int) -> None:
        if key % 2 == 0:
            super().append(client, key, element)
            return
        rows = Place.objects.filter(list=key)
        if client.rng.random() < 0.5:
            position = rows.count()
        else:
            last = rows.aggregate(last=Max("position"))["last"]
            position = 0 if last is None else last + 1
        client.dawdle()
        Place.objects.create(list=key, position=position, element=element)

    def read(self, key: int) -> list[Any]:
        return _in_order(Place.objects.filter(list=key)) if key % 2 else super().read(key)

    def read_and_append(self, client: Client, key: int, element: int) -> list[Any]:
        if key % 2 == 0:
            return super().read_and_append(client, key, element)
        found = self.read(key)
        client.dawdle()
        Place.objects.create(list=key, position=len(found), element=element)
        return found

    def final(self) -> Any:
        keys = Place.objects.values_list("list", flat=True).distinct()
        return super().final() | {key: self.read(key) for key in keys}


def _in_order(places: QuerySet[Place]) -> list[Any]:
    """The elements; what is not at its place is told as an element that nobody appended."""
    rows = sorted(places.values_list("position", "element"))
    return [
        element if position == place else f"{element} at {position}"
        for place, (position, element) in enumerate(rows)
    ]


def no_serializable() -> str:
    there = find_spec("raftdjango.transaction.serializable")
    return "" if there else "there is no raftdjango.transaction.serializable yet"


def _transaction(name: str, operation: Operation) -> Transaction:
    results = operation.result if operation.ok else [None] * len(operation.argument)
    steps: list[Step] = []
    for (kind, key, *element), result in zip(operation.argument, results, strict=True):
        if kind != "append":
            steps.append(Read(key, None if result is None else tuple(result)))
        if element:
            steps.append(Append(key, element[0]))
    return Transaction(
        f"{name} of {operation.process}",
        tuple(steps),
        operation.outcome,
        operation.node,
        operation.called,
        operation.returned,
    )
