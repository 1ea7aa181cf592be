"""Blocks of several databases in one thread, as `ATOMIC_REQUESTS` makes them."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections, transaction

from raftdjango.exceptions import TransactionConflict
from tests.backend.helpers import elsewhere
from tests.backend.models import Account

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "plain"])


def write_at_once() -> bool:
    """Whether another thread's block gets the write lock of `default`."""

    def write() -> bool:
        connection.ensure_connection()
        connection.replication.speculation.write_lock.timeout_s = 0
        try:
            with transaction.atomic():
                Account.objects.create(name="somebody else's")
                transaction.set_rollback(True)
        except TransactionConflict as error:
            assert "not to be had" in str(error)
            return False
        return True

    return bool(elsewhere(write))


def lock_while_proposed(outer: str, *, writes: bool = True) -> list[bool]:
    """Whether others get the lock of `default` while its block, inside of one of `outer`, is committed."""
    connections.close_all()  # on which tests before may have looked for what they had put in place
    found = []
    client = connection.replication.client
    propose = client.propose

    def looking(*args: Any, **kwargs: Any) -> Any:
        found.append(write_at_once())
        return propose(*args, **kwargs)

    with mock.patch.object(client, "propose", looking), transaction.atomic(using=outer):
        if writes:
            Account.objects.using(outer).create(name="outer")
        else:
            list(Account.objects.using(outer).all())
        with transaction.atomic():
            Account.objects.create(name="inner")
            Account.objects.filter(name="inner").update(balance=1)
    assert write_at_once()
    return found


@pytest.mark.parametrize("outer", ["other", "plain"])
def test_nobody_gets_between_a_block_and_its_commit_while_others_are_open(outer: str) -> None:
    """He would wait for this thread's other block, while this one waits for him."""
    assert lock_while_proposed(outer) == [False]


def test_somebody_may_where_there_is_no_other_database() -> None:
    assert lock_while_proposed("default") == [True]


def test_somebody_may_where_nothing_is_locked_in_the_other_one() -> None:
    assert lock_while_proposed("other", writes=False) == [True]
