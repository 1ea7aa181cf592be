"""Scripts of workers that get into each other's way: long blocks, hot counters, steady writers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.db.models import F

from raftdjango.backends.sqlite3.statements import execution as statements
from raftdjango.exceptions import TransactionConflict
from raftdjango.transaction import atomic_retry
from tests.cluster.project.models import Account, Item


def long_block(name: str, seconds: float, options: dict[str, Any]) -> dict[str, Any]:
    """A block that reads, writes, dawdles and writes again; how often it ran, and what it lost to."""
    defeats: list[str] = []
    runs = 0

    def book() -> None:
        nonlocal runs
        runs += 1
        try:
            account = Account.objects.select_for_update().get(name=name)
            account.balance += 1
            account.save()
            time.sleep(seconds)
            Account.objects.filter(pk=account.pk).update(balance=F("balance") + 1)
        except TransactionConflict as conflict:
            defeats.append(str(conflict))
            raise

    atomic_retry(**options)(book)()
    return {"runs": runs, "defeats": defeats}


def write_steadily_until(stop_file: str, prefix: str) -> dict[str, Any]:
    """Create and change items one after another until a file appears; how many, the slowest wait."""
    created, slowest = 0, 0.0
    while not Path(stop_file).exists():
        created += 1
        began = time.monotonic()
        item = Item.objects.create(name=f"{prefix}-{created}")
        Item.objects.filter(pk=item.pk).update(value=F("value") + 1)
        slowest = max(slowest, time.monotonic() - began)
    return {"created": created, "slowest_s": slowest}


def create_account(name: str) -> int:
    return Account.objects.create(name=name).pk


def add_to_account(name: str, amount: int) -> None:
    Account.objects.filter(name=name).update(balance=F("balance") + amount)


def count_up(name: str, times: int) -> dict[str, int]:
    """Add one to a shared row, so many times; how often that was run again, and at most for one."""
    again: list[int] = []
    pause = statements.pause

    def counting(attempt: int) -> None:
        again.append(attempt)
        pause(attempt)

    statements.pause = counting
    try:
        for _ in range(times):
            Item.objects.filter(name=name).update(value=F("value") + 1)
    finally:
        statements.pause = pause
    return {"again": len(again), "most": max(again, default=0)}


def dawdle_in_turn(started_file: str, name: str) -> None:
    """A block in an exclusive turn that others have changed meanwhile, because it took too long."""

    @atomic_retry(attempts=1, exclusive_after=0)
    def block() -> None:
        account = Account.objects.select_for_update().get(name=name)
        Path(started_file).touch()
        time.sleep(0.5)  # stopped meanwhile
        account.balance += 1
        account.save()

    block()
