"""A block has one view: fresh from its beginning, or renewed where its reads allow it."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.test import override_settings

from raftdjango.backends.sqlite3.reads import repeated as reads
from raftdjango.backends.sqlite3.transactions.speculation import State
from raftdjango.consistency import at_least, bounded, linearizable, local
from raftdjango.exceptions import ClusterUnavailable, TransactionConflict
from tests.backend.consistency_support import Clock, Node, balance, clock, node
from tests.backend.helpers import applied_index, elsewhere, far_key
from tests.backend.models import Account, Tag

__all__ = ["clock", "node"]
pytestmark = pytest.mark.django_db(transaction=True)


def create(name: str) -> None:
    Tag.objects.create(slug=name)


def slugs() -> list[str]:
    return list(Tag.objects.order_by("slug").values_list("slug", flat=True))


def test_a_block_asks_once_at_its_beginning(node: Node) -> None:
    with linearizable(), transaction.atomic():
        assert balance() == 7
        node.behind(lambda: Account.objects.update(balance=8))
        assert balance() == 7
        with transaction.atomic(), local():
            assert balance() == 7
        assert balance() == 7
    assert len(node.asked) == 1


def test_a_level_entered_before_the_first_read(node: Node) -> None:
    """As with a decorated view under ATOMIC_REQUESTS."""
    with transaction.atomic():
        with linearizable():
            assert balance() == 7
            assert balance() == 7
        assert len(node.asked) == 1


def test_what_was_read_before_and_is_the_same_now(node: Node) -> None:
    create("one")
    with transaction.atomic():
        assert slugs() == ["one"]
        with linearizable():
            assert slugs() == ["one"]
            assert balance() == 7
        assert connection.replication.speculation.state is State.READING, "nobody is held up"
        assert balance() == 7
        create("two")
    assert len(node.asked) == 1
    assert slugs() == ["one", "two"]


def test_what_was_read_before_and_is_different_now(node: Node) -> None:
    with pytest.raises(TransactionConflict, match="changed meanwhile"), transaction.atomic():
        assert balance() == 0
        with linearizable():
            slugs()
    assert balance() == 7
    assert not connection.connection.in_transaction


def test_a_row_that_was_locked_before_and_is_different_now(node: Node) -> None:
    with pytest.raises(TransactionConflict, match="select_for_update"), transaction.atomic():
        list(Account.objects.select_for_update())
        # Nothing that is different for a query that was read: the lock alone tells.
        connection.replication.speculation.block.reads._reads.clear()
        with linearizable():
            slugs()


def test_savepoints_are_open_as_before(node: Node) -> None:
    with transaction.atomic():
        slugs()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            with linearizable():
                assert balance() == 7
            create("undone")
            1 / 0
        create("kept")
    assert slugs() == ["kept"]


def test_each_level_entered_later_asks_for_its_own_moment(node: Node) -> None:
    with transaction.atomic():
        with linearizable():
            assert balance() == 7
        node.behind(lambda: create("one"))
        slug_less = slugs()
        assert slug_less == []
        with pytest.raises(TransactionConflict), linearizable():
            slugs()
        transaction.set_rollback(True)
    assert len(node.asked) == 2


def test_the_default_concerns_the_beginning(node: Node) -> None:
    with override_settings(RAFTDJANGO={"DEFAULT_CONSISTENCY": "linearizable"}):
        with transaction.atomic():
            assert balance() == 7
            with local():
                assert balance() == 7
            assert balance() == 7
        assert len(node.asked) == 1


def test_a_block_begun_under_less_than_what_counts_now(node: Node) -> None:
    """The level around it counts from the block's beginning, not from its own."""
    with linearizable():
        assert balance() == 7
        node.behind(lambda: Account.objects.update(balance=8))
        less = local()
        less.__enter__()
        with transaction.atomic():
            less.__exit__(None, None, None)
            assert balance() == 8


def test_once_it_has_written_the_view_cannot_be_renewed(node: Node) -> None:
    with transaction.atomic():
        create("mine")
        with linearizable():
            with pytest.raises(TransactionManagementError, match=r"cannot .* \(linearizable\)"):
                balance()
            with (
                pytest.raises(TransactionManagementError, match="has written"),
                transaction.atomic(),
            ):
                Account.objects.update(balance=1)
        assert balance() == 0
        create("too")
    assert slugs() == ["mine", "too"]
    assert node.asked == []


def test_a_block_that_began_immediate_gives_the_lock_back_meanwhile(node: Node) -> None:
    connection.replication.begin_immediate_once()
    with transaction.atomic():
        with linearizable():
            assert balance() == 7  # which another connection has written, so it had the lock
        assert connection.replication.speculation.state is State.WRITING
        create("mine")
    assert slugs() == ["mine"]


def test_a_block_that_began_immediate_and_has_read(node: Node) -> None:
    connection.replication.begin_immediate_once()
    with transaction.atomic():
        assert slugs() == []
        with linearizable():
            assert balance() == 7
        create("mine")
    connection.replication.begin_immediate_once()
    node.behind(lambda: create("other"))
    with pytest.raises(TransactionConflict, match="changed meanwhile"), transaction.atomic():
        assert slugs() == ["mine"]
        with linearizable():
            balance()


def test_rows_that_are_locked_under_the_write_lock_hold_the_view(node: Node) -> None:
    connection.replication.begin_immediate_once()
    with transaction.atomic():
        list(Account.objects.select_for_update())
        with linearizable(), pytest.raises(TransactionManagementError, match="locked rows"):
            balance()


class TestAWriteThatFindsNothing:
    """It has the block go on at a fresh view by itself; what was read before is compared then."""

    def nothing(self) -> int:
        return Account.objects.filter(pk=far_key()).update(balance=1)

    @pytest.mark.parametrize("immediate", [False, True])
    def test_after_a_read(self, node: Node, immediate: bool) -> None:
        if immediate:
            connection.replication.begin_immediate_once()
        with pytest.raises(TransactionConflict, match="changed meanwhile"), transaction.atomic():
            ada = Account.objects.get(name="ada")
            assert self.nothing() == 0
            ada.balance += 1
            ada.save()
        assert balance() == 7, "not what was computed from before"

    def test_after_a_read_and_a_write_that_was_undone(self, node: Node) -> None:
        with transaction.atomic():
            savepoint = connection.savepoint()
            create("undone")
            ada = Account.objects.get(name="ada")
            transaction.savepoint_rollback(savepoint)
            assert self.nothing() == 0
            assert node.asked == [], "its view stays"
            ada.balance += 1
            ada.save()
        assert balance() == 1, "of two that come one after the other the first is in nobody's way"

    def test_after_too_many_reads(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reads, "READS_MAX", 1)
        connection.replication.begin_immediate_once()
        with transaction.atomic():
            slugs()
            balance()
            assert self.nothing() == 0
        assert node.asked == []


@pytest.mark.parametrize("immediate", [False, True])
def test_after_an_error_the_block_goes_on_with_what_it_had(node: Node, immediate: bool) -> None:
    node.down = True
    if immediate:
        connection.replication.begin_immediate_once()
    with transaction.atomic():
        if not immediate:
            assert balance() == 0
        with linearizable(), pytest.raises(ClusterUnavailable):
            balance()
        if not immediate:
            elsewhere(lambda: create("other"))
            assert slugs() == []
        assert balance() == 0
        if immediate:
            create("mine")
        node.down = False
    assert slugs() == ["mine"] if immediate else ["other"]


def test_a_block_cannot_begin_where_it_cannot_be_fresh(node: Node) -> None:
    node.down = True
    with pytest.raises(ClusterUnavailable), linearizable(), transaction.atomic():
        raise AssertionError("it has begun")
    assert connection.get_autocommit()
    assert not connection.in_atomic_block
    with transaction.atomic():
        create("mine")


def test_a_bound_inside_a_block(node: Node, clock: Clock) -> None:
    with transaction.atomic():
        clock.now += 4
        with bounded(5):
            assert balance() == 0
        assert node.asked == []
        clock.now += 2
        with bounded(5):
            with pytest.raises(TransactionConflict):
                slugs()
            transaction.set_rollback(True)
    assert len(node.asked) == 1


def test_an_index_inside_a_block(node: Node) -> None:
    index = applied_index()
    with transaction.atomic():
        slugs()
        with at_least(index, "default"):
            slugs()
        assert node.asked == []
        with at_least(index + 1, "default"):
            assert balance() == 7
            assert balance() == 7
    assert len(node.asked) == 1


def test_an_index_that_is_here_but_not_in_the_view(node: Node) -> None:
    index = applied_index()
    node.meanwhile.clear()
    with transaction.atomic():
        slugs()
        elsewhere(lambda: Account.objects.update(balance=3))
        with at_least(index + 1, "default"):
            assert balance() == 3
