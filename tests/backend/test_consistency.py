"""Reads show what they were asked to show, or say that they cannot."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test import override_settings

from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.consistency import at_least, bounded, last_write, linearizable, local
from raftdjango.consistency.recording import recording
from raftdjango.consistency.scopes import in_force
from raftdjango.exceptions import ClusterUnavailable
from raftdjango.writeset import MigrationLock
from tests.backend.consistency_support import Clock, Node, balance, clock, node
from tests.backend.helpers import applied_index, elsewhere, raw
from tests.backend.models import Account

__all__ = ["clock", "node"]
committed = pytest.mark.django_db(transaction=True)


# -- outside of blocks -----------------------------------------------------------------------------


@committed
def test_a_local_read_waits_for_nobody(node: Node) -> None:
    assert balance() == 0
    assert node.asked == []


@committed
def test_a_linearizable_read_shows_what_others_have_committed(node: Node) -> None:
    with linearizable():
        assert balance() == 7
        node.behind(lambda: Account.objects.update(balance=8))
        assert balance() == 8
    assert node.asked == [10.0, 10.0]


@committed
def test_the_other_database_is_not_asked(node: Node) -> None:
    with linearizable("other"):
        assert balance() == 0


READS = {
    "raw SQL": lambda: raw("SELECT balance FROM backend_account")[0][0],
    "iterator": lambda: next(iter(Account.objects.iterator())).balance,
    "iterator of values": lambda: next(Account.objects.values_list("balance").iterator())[0],
    "what is there already": lambda: Account.objects.get_or_create(name="ada")[0].balance,
    "an update's own": lambda: 7 * Account.objects.filter(balance=7).update(name="eva"),
    "a delete's own": lambda: 7 * Account.objects.filter(balance=7).delete()[0],
    "a block's": lambda: transaction.atomic()(balance)(),
}


@committed
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_every_way_to_read(node: Node, read: Any) -> None:
    with linearizable():
        assert read() == 7


@committed
def test_without_autocommit(node: Node) -> None:
    transaction.set_autocommit(False)
    try:
        with linearizable():
            assert balance() == 7
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)


@committed
def test_where_it_cannot_be_fresh_it_says_so(node: Node) -> None:
    node.down = True
    reads: list[Any] = [balance, lambda: list(Account.objects.iterator()), READS["a block's"]]
    for read in reads:
        with (
            linearizable(timeout_s=3),
            pytest.raises(
                ClusterUnavailable,
                match=r"be fresh \(linearizable\) and could not be: no raftnode answers\. What this",
            ),
        ):
            read()
        assert balance() == 0
    assert node.asked == [3, 3, 3]
    with linearizable(), local():
        assert balance() == 0
    assert connection.get_autocommit()


# -- bounds and indexes ----------------------------------------------------------------------------


@committed
def test_a_bound_costs_a_question_when_it_has_passed(node: Node, clock: Clock) -> None:
    with bounded(5):
        clock.now += 4
        assert balance() == 0, "the write of four seconds ago has shown all that was there before"
        assert node.asked == []
        clock.now += 2
        assert balance() == 7
        assert elsewhere(balance) == 7
        clock.now += 4
        assert balance() == 7
        assert len(node.asked) == 1
    with bounded(3):
        assert balance() == 7
    assert len(node.asked) == 2


@committed
def test_what_one_connection_learns_holds_for_its_process(node: Node, clock: Clock) -> None:
    def fresh() -> int:
        with bounded(5):
            return balance()

    clock.now += 6
    assert fresh() == 7
    others: list[int] = []

    def other() -> int:
        connection.ensure_connection()
        client = connection.replication.client
        client.refresh = lambda timeout_s: others.append(1) or 0  # type: ignore[method-assign]
        return fresh()

    assert elsewhere(other) == 7
    clock.now += 6
    elsewhere(other)
    assert others == [1]


@committed
def test_an_unanswered_question_proves_nothing(node: Node, clock: Clock) -> None:
    clock.now += 6
    node.down = True
    with bounded(5):
        for _ in range(2):
            with pytest.raises(ClusterUnavailable):
                balance()
        node.down = False
        assert balance() == 7


@committed
def test_a_lock_proves_nothing(node: Node, clock: Clock) -> None:
    """The node may tell who has it before that is applied here."""
    clock.now += 6
    until_ms = connection.replication.client.cluster_time_ms() + 60_000
    commit.propose_body(connection.replication, MigrationLock(b"somebody", until_ms))
    commit.propose_body(connection.replication, MigrationLock(b"somebody", 0, release=True))
    with bounded(5):
        assert balance() == 7
    assert last_write("default") < applied_index() - 1


@committed
def test_a_question_proves_what_was_before_it_was_asked(node: Node, clock: Clock) -> None:
    """Not what was before it was answered."""
    clock.now += 6
    node.behind(lambda: clock.sleep(4))
    with bounded(5):
        assert balance() == 7
        clock.now += 2
        assert balance() == 7
    assert len(node.asked) == 2


@committed
def test_an_index_is_waited_for(node: Node) -> None:
    index = applied_index()
    with at_least(index, "default"):
        assert balance() == 0
    assert node.asked == []
    with at_least(index + 1, "default"):
        assert balance() == 7
        assert len(node.asked) == 1
        assert balance() == 7
        assert len(node.asked) == 1, "a database does not go back"


@committed
def test_a_new_connection_looks_how_far_its_database_is(node: Node) -> None:
    def read() -> int:
        with at_least(applied_index(), "default"):
            connection.replication.client.refresh = None  # type: ignore[method-assign]
            return balance()

    elsewhere(read)


@committed
def test_an_index_that_the_cluster_comes_to_later(node: Node, clock: Clock) -> None:
    index = applied_index()
    node.meanwhile.clear()
    times = []

    def later() -> None:
        times.append(1)
        if len(times) < 3:
            node.behind(later)
        else:
            Account.objects.update(balance=9)

    node.behind(later)
    with at_least(index + 1, "default"):
        assert balance() == 9
    assert len(node.asked) == 3


@committed
def test_an_index_that_never_comes(node: Node) -> None:
    with (
        at_least(10**9, "default", timeout_s=2),
        pytest.raises(ClusterUnavailable, match=r"log index 1000000000, .* within 2 s"),
    ):
        balance()


@committed
def test_the_index_of_the_last_write(node: Node) -> None:
    Account.objects.create(name="bob")
    index = last_write("default")
    assert index == applied_index()
    balance()
    assert last_write("default") == index
    assert elsewhere(lambda: last_write("default")) == 0
    with recording() as written:
        assert written == {}
        with transaction.atomic():
            Account.objects.create(name="carl")
            assert written == {}
        assert written == {"default": applied_index()}
        asyncio.run(Account.objects.acreate(name="dan"))
        assert written == {"default": applied_index()}
    Account.objects.create(name="eva")
    assert written["default"] < applied_index()


# -- by setting ------------------------------------------------------------------------------------


@committed
@pytest.mark.parametrize(("setting", "shows"), [("linearizable", 7), ("bounded:5", 0)])
def test_the_default(node: Node, setting: str, shows: int, clock: Clock) -> None:
    with override_settings(RAFTDJANGO={"DEFAULT_CONSISTENCY": setting}):
        assert balance() == shows
        with linearizable():
            assert balance() == 7
        clock.now += 6
        node.behind(lambda: Account.objects.update(balance=8))
        with local():
            assert balance() == 7
        assert balance() == 8
    node.behind(lambda: Account.objects.update(balance=9))
    assert balance() == 8


def test_a_default_that_is_none() -> None:
    with (
        override_settings(RAFTDJANGO={"DEFAULT_CONSISTENCY": "strong"}),
        pytest.raises(ImproperlyConfigured, match="'strong' is none of 'local', 'linearizable'"),
    ):
        in_force("default")


# -- in a TestCase ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_in_a_test_case_there_is_nobody_to_lag_behind() -> None:
    Account.objects.create(name="ada", balance=3)
    with linearizable(), transaction.atomic():
        assert balance() == 3
        Account.objects.update(balance=4)
        with bounded(1):
            assert balance() == 4
        with at_least(last_write("default"), "default"):
            assert balance() == 4
    with at_least(last_write("default"), "default"):
        assert balance() == 4
        with transaction.atomic():
            assert balance() == 4


@pytest.mark.django_db
def test_what_a_test_case_undoes_proves_nothing_to_the_next(clock: Clock) -> None:
    known = connection.replication.freshness._index
    Account.objects.create(name="ada")
    with at_least(last_write("default"), "default"):
        assert balance() == 0
    with linearizable():
        assert balance() == 0
    assert connection.replication.freshness._index == known < applied_index()
