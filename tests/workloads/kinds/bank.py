"""Money moves between accounts; at every moment that anybody sees, there is as much of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from django.db import transaction
from django.db.models import F

from raftdjango.transaction import atomic_retry
from tests.workloads.history import Operation, Outcome
from tests.workloads.kinds.base import Client, Declined, Findings, Workload
from tests.workloads.models import BankAccount

ACCOUNTS = range(1, 9)
BALANCE = 100
UNKNOWN_MAX = 14
"""With more transfers of unknown outcome their combinations are not tried."""


class Bank(Workload):
    name = "bank"
    promise = (
        "a block is all or nothing, and a snapshot: the sum of all balances is always the same"
    )

    def prepare(self, seconds: float) -> None:
        BankAccount.objects.bulk_create(BankAccount(id=n, balance=BALANCE) for n in ACCOUNTS)

    def choose(self, client: Client) -> tuple[str, Any]:
        rng = client.rng
        if rng.random() < 0.4:
            return rng.choice(["read at once", "read one by one"]), None
        how = rng.choice(["locked", "read", "computed", "retried", "in turn"])
        return "transfer", [how, *rng.sample(ACCOUNTS, 2), rng.randint(1, 30)]

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        if action == "read at once":
            return dict(BankAccount.objects.values_list("id", "balance"))
        if action == "read one by one":
            with transaction.atomic():
                return {str(n): self._balance(client, n) for n in ACCOUNTS}
        how, source, target, amount = argument
        if how in {"retried", "in turn"}:
            retry = atomic_retry(attempts=20, exclusive_after=0 if how == "in turn" else 3)
            return retry(self._move)(client, how, source, target, amount)
        with transaction.atomic():
            return self._move(client, how, source, target, amount)

    def _balance(self, client: Client, number: int) -> int:
        client.dawdle()
        return BankAccount.objects.get(pk=number).balance

    def _move(self, client: Client, how: str, source: int, target: int, amount: int) -> None:
        rows = BankAccount.objects.filter(pk__in=[source, target])
        if how == "locked":
            rows = rows.select_for_update()
        found = {row.pk: row for row in rows}
        if found[source].balance < amount:
            raise Declined("not enough")
        client.dawdle()
        if how == "computed":
            BankAccount.objects.filter(pk=source).update(balance=F("balance") - amount)
            BankAccount.objects.filter(pk=target).update(balance=F("balance") + amount)
        else:
            found[source].balance -= amount
            found[target].balance += amount
            found[source].save()
            client.dawdle()
            found[target].save()

    def final(self) -> Any:
        return dict(BankAccount.objects.values_list("id", "balance"))

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        total = BALANCE * len(ACCOUNTS)
        violations = [
            f"{operation}: balances sum to {sum(operation.result.values())}, not {total}"
            for operation in operations
            if operation.ok and operation.action != "transfer"
            if sum(operation.result.values()) != total or min(operation.result.values()) < 0
        ]
        transfers = [operation for operation in operations if operation.action == "transfer"]
        known = [t.argument[1:] for t in transfers if t.ok]
        unknown = [t.argument[1:] for t in transfers if t.outcome is Outcome.UNKNOWN]
        balances = {int(number): balance for number, balance in final.items()}
        if not _explained(balances, known, unknown):
            violations.append(f"at the end {balances}, which no choice of transfers explains")
        reads = sum(operation.ok for operation in operations) - len(known)
        missing = [] if known and reads else ["a transfer and a read"]
        return Findings(violations, missing)


def _explained(balances: dict[int, int], known: list[Any], unknown: list[Any]) -> bool:
    """Whether the transfers that were made, and some of those that may have been, lead there."""
    left = {number: balances.get(number, 0) - BALANCE for number in ACCOUNTS}
    for source, target, amount in known:
        left[source] += amount
        left[target] -= amount
    if len(unknown) > UNKNOWN_MAX:
        return sum(left.values()) == 0
    choices = (c for count in range(len(unknown) + 1) for c in combinations(unknown, count))
    return any(_effect(chosen) == left for chosen in choices)


def _effect(transfers: Sequence[Any]) -> dict[int, int]:
    effect = dict.fromkeys(ACCOUNTS, 0)
    for source, target, amount in transfers:
        effect[source] -= amount
        effect[target] += amount
    return effect
