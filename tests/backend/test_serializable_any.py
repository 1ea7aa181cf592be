"""Whatever serializable blocks do, and however they overlap: it is as if they had run one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftdjango.transaction import serializable
from tests.backend.helpers import far_key
from tests.backend.models import Account, Booking, Tag
from tests.backend.serial_support import Entry, hold_back

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = tuple[Any, ...]
    Seen = list[Any]

pytestmark = pytest.mark.django_db(transaction=True)
BASE = far_key()

keys, values = st.integers(0, 2), st.integers(0, 2)
reading = st.one_of(
    st.tuples(st.just("get"), keys),
    st.tuples(st.just("count"), values),
    st.tuples(st.just("exists"), values),
    st.tuples(st.just("names"), values),
    st.tuples(st.just("bookings"), values),
    st.tuples(st.just("sum")),
    st.tuples(st.just("first")),
    st.tuples(st.just("lock"), keys),
)
writing = st.one_of(
    st.tuples(st.just("add"), keys, values),
    st.tuples(st.just("get or add"), keys, values),
    st.tuples(st.just("book"), keys, keys),
    st.tuples(st.just("set"), keys, values),
    st.tuples(st.just("set where"), values, values),
    st.tuples(st.just("bump"), keys),
    st.tuples(st.just("drop"), keys),
    st.tuples(st.just("write what was seen"), keys),
)
steps = reading | writing | st.tuples(st.just("undo"), writing)
blocks = st.lists(steps, min_size=1, max_size=3)


def account(key: int) -> Any:
    return Account.objects.filter(pk=BASE + key)


def undo(inner: Step, seen: Seen) -> Any:
    with transaction.atomic():
        told = STEPS[inner[0]](*inner[1:], seen)
        transaction.set_rollback(True)
    return told


def add(key: int, value: int, seen: Seen) -> Any:
    try:
        with transaction.atomic():
            Account.objects.create(pk=BASE + key, name=str(key), balance=value)
    except IntegrityError:
        return "taken"
    return "added"


def get_or_add(key: int, value: int, seen: Seen) -> Any:
    found, made = Account.objects.get_or_create(
        name=str(key), defaults={"pk": BASE + key, "balance": value}
    )
    return made, found.balance


def book(key: int, of: int, seen: Seen) -> Any:
    if not account(of).exists() or Booking.objects.filter(pk=BASE + key).exists():
        return None
    Booking.objects.create(pk=BASE + key, account_id=BASE + of)
    return "booked"


STEPS: dict[str, Callable[..., Any]] = {
    "get": lambda key, seen: [(a.name, a.balance) for a in account(key)],
    "count": lambda value, seen: Account.objects.filter(balance=value).count(),
    "exists": lambda value, seen: Account.objects.filter(balance__gt=value).exists(),
    "names": lambda value, seen: sorted(
        Account.objects.filter(balance=value).values_list("name", flat=True)
    ),
    "bookings": lambda value, seen: Booking.objects.filter(account__balance=value).count(),
    "sum": lambda seen: Account.objects.aggregate(sum=Sum("balance"))["sum"],
    "first": lambda seen: Account.objects.order_by("balance", "pk").values_list("pk").first(),
    "lock": lambda key, seen: [a.balance for a in account(key).select_for_update()],
    "add": add,
    "get or add": get_or_add,
    "book": book,
    "set": lambda key, value, seen: account(key).update(balance=value),
    "set where": lambda value, new, seen: Account.objects.filter(balance=value).update(balance=new),
    "bump": lambda key, seen: account(key).update(balance=F("balance") + 1),
    "drop": lambda key, seen: account(key).delete()[0],
    "write what was seen": lambda key, seen: account(key).update(balance=len(repr(seen)) % 7),
    "undo": undo,
}


def run(block: list[Step]) -> Seen:
    seen: Seen = []
    for name, *arguments in block:
        seen.append(STEPS[name](*arguments, seen))
    # Where nobody looks; so that there is an entry, whatever was read.
    Tag.objects.create(slug=str(far_key()))
    return seen


def begin_anew() -> None:
    Booking.objects.all().delete()
    Account.objects.all().delete()
    Account.objects.bulk_create(
        Account(pk=BASE + key, name=str(key), balance=key) for key in range(2)
    )


def contents() -> list[Any]:
    return [sorted(model.objects.values_list()) for model in (Account, Booking)]


def overlap(plan: list[tuple[list[Step], int]], isolation: Any) -> list[tuple[list[Step], Seen]]:
    """Each block is made on what it sees, and applied some blocks later; those that were, in order."""
    waiting: list[tuple[int, list[Step], Seen, Entry]] = []
    committed: list[tuple[list[Step], Seen]] = []

    def apply_due(now: int) -> None:
        for item in [each for each in waiting if each[0] <= now]:
            waiting.remove(item)
            if item[3].is_applied():
                committed.append(item[1:3])

    for now, (block, delay) in enumerate(plan):
        seen: list[Seen] = []

        def make(block: list[Step] = block, seen: list[Seen] = seen) -> None:
            with isolation():
                seen.append(run(block))

        entry = hold_back(make)
        if entry is not None:
            waiting.append((now + delay, block, seen[0], entry))
        apply_due(now)
    apply_due(len(plan) + 10)
    return committed


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(blocks, st.integers(0, 2)), min_size=2, max_size=6))
def test_it_is_as_if_they_had_run_one_by_one(plan):
    begin_anew()
    committed = overlap(plan, serializable)
    after = contents()
    begin_anew()
    for block, seen in committed:
        with transaction.atomic():
            assert run(block) == seen
    assert contents() == after
