"""Two doctors leave, each because the other stays: the anomaly that snapshots allow."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from tests.workloads.history import Operation
from tests.workloads.kinds.append import no_serializable
from tests.workloads.kinds.base import Client, Declined, Findings, Workload
from tests.workloads.models import Doctor

SHIFT_S = 0.2


class Skew(Workload):
    name = "skew"
    promise = "write skew is possible with atomic(): the documentation says so, and it is so"
    first_shift = 0
    may_happen = True

    def rows(self) -> QuerySet[Doctor]:
        return Doctor.objects.all()

    def block(self) -> AbstractContextManager[Any]:
        return transaction.atomic()

    def prepare(self, seconds: float) -> None:
        shifts = range(self.first_shift, self.first_shift + int((seconds + 90) / SHIFT_S))
        Doctor.objects.bulk_create(
            Doctor(id=2 * shift + place, shift=shift) for shift in shifts for place in (0, 1)
        )

    def choose(self, client: Client) -> tuple[str, Any]:
        """Everybody waits for the next shift, so that all decide at the same time."""
        window = client.window(SHIFT_S) + 1
        time.sleep(max(client.started + window * SHIFT_S - time.monotonic(), 0))
        return "leave", [self.first_shift + window, client.number % 2]

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        shift, place = argument
        with self.block():
            staying = self._staying(client, shift)
            if len(staying) < 2:
                raise Declined("the other has left")
            time.sleep(client.rng.random() * 0.01)
            Doctor.objects.filter(pk=2 * shift + place).update(on_call=False)
        return staying

    def _staying(self, client: Client, shift: int) -> list[int]:
        """By a range of rows, or row by row."""
        if client.rng.random() < 0.5:
            return list(self.rows().filter(shift=shift, on_call=True).values_list("pk", flat=True))
        keys = [2 * shift, 2 * shift + 1]
        return [key for key in keys if self.rows().get(pk=key).on_call]

    def final(self) -> Any:
        shifts = range(self.first_shift, self.first_shift + FAR)
        left = Doctor.objects.filter(on_call=False, shift__gte=shifts.start, shift__lt=shifts.stop)
        return list(left.values_list("shift", "pk"))

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        left: dict[int, list[int]] = defaultdict(list)
        for shift, doctor in final:
            left[shift].append(doctor)
        empty = [shift for shift, doctors in left.items() if len(doctors) == 2]
        asked = {tuple(o.argument) for o in operations if not o.failed}
        violations = [
            f"doctor {doctor} has left shift {shift}, but nobody was told so"
            for shift, doctors in left.items()
            for doctor in doctors
            if (shift, doctor % 2) not in asked
        ]
        violations += [
            f"lost: {operation}"
            for operation in operations
            if operation.ok
            and 2 * operation.argument[0] + operation.argument[1] not in left[operation.argument[0]]
        ]
        if not self.may_happen:
            for shift in empty:
                who = [o for o in operations if o.argument[0] == shift and not o.failed]
                violations.append("\n".join([f"nobody is left on shift {shift}:", *map(str, who)]))
            return Findings(violations, [] if left else ["a doctor who left"])
        return Findings(violations, [] if empty else ["write skew"])


FAR = 1_000_000


class LockedSkew(Skew):
    name = "skew-locked"
    promise = "write skew is not possible where both rows are read with select_for_update()"
    first_shift = 2 * FAR
    may_happen = False

    def rows(self) -> QuerySet[Doctor]:
        return Doctor.objects.select_for_update()


class SerializableSkew(Skew):
    name = "skew-serializable"
    promise = "write skew is not possible with serializable()"
    first_shift = FAR
    may_happen = False

    def unavailable(self) -> str:
        return no_serializable()

    def block(self) -> AbstractContextManager[Any]:
        from raftdjango.transaction import serializable

        return serializable()  # type: ignore[no-any-return]
