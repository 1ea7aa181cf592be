"""Many at once, through one file: nothing is lost, nothing is torn, nobody waits for ever."""

from __future__ import annotations

import random
import threading

import pytest
from django.db import connection, transaction
from django.db.models import F, Sum
from django.test import TransactionTestCase

from raftdjango.exceptions import TransactionConflict
from raftdjango.right_of_way.lock_file import RightOfWay
from raftdjango.transaction import atomic_retry
from tests.backend.helpers import elsewhere, together
from tests.backend.models import Account, Booking, Tag

WORKERS, ROUNDS = 4, 8


@atomic_retry(attempts=200)
def transfer(source: int, target: int) -> None:
    """Read, compute in Python, write."""
    one, other = (Account.objects.get(pk=pk) for pk in (source, target))
    one.balance -= 1
    other.balance += 1
    one.save(update_fields=["balance"])
    other.save(update_fields=["balance"])


class TestRaces(TransactionTestCase):
    def test_no_update_is_lost(self) -> None:
        keys = [Account.objects.create(name=str(n), balance=100).pk for n in range(3)]
        done = [0, 0, 0]

        def work(number: int) -> None:
            chance = random.Random(number)
            for _ in range(ROUNDS):
                source, target = chance.sample(range(3), 2)
                transfer(keys[source], keys[target])
                done[source] -= 1
                done[target] += 1

        together(work, WORKERS)
        for key, change in zip(keys, done, strict=True):
            assert Account.objects.get(pk=key).balance == 100 + change

    def test_of_two_blocks_from_the_same_start_the_first_wins(self) -> None:
        pk = Account.objects.create(name="ada", balance=0).pk
        read = threading.Barrier(2)

        def work(number: int) -> bool:
            try:
                with transaction.atomic():
                    account = Account.objects.get(pk=pk)
                    read.wait(30)
                    account.balance += 1
                    account.save()
            except TransactionConflict:
                return False
            return True

        won = together(work, 2)
        assert sorted(won) == [False, True]
        assert Account.objects.get(pk=pk).balance == 1

    def test_get_or_create_makes_one(self) -> None:
        def work(number: int) -> int:
            return Tag.objects.get_or_create(slug="same")[0].pk

        assert set(together(work, WORKERS)) == {"same"}
        assert Tag.objects.count() == 1

    def test_creates_never_share_a_key(self) -> None:
        def work(number: int) -> list[int]:
            return [Account.objects.create(name=f"{number}-{n}").pk for n in range(ROUNDS)]

        keys = [key for keys in together(work, WORKERS) for key in keys]
        assert len(set(keys)) == WORKERS * ROUNDS == Account.objects.count()

    def test_raw_inserts_never_share_a_key(self) -> None:
        def work(number: int) -> None:
            for n in range(ROUNDS):
                with connection.cursor() as cursor:
                    cursor.execute(
                        "INSERT INTO backend_account (name, balance) VALUES (%s, 0)",
                        [f"{number}-{n}"],
                    )

        together(work, WORKERS)
        assert Account.objects.count() == WORKERS * ROUNDS

    def test_blocks_are_whole(self) -> None:
        account = Account.objects.create(name="ada")

        @atomic_retry(attempts=200)
        def book(amount: int) -> None:
            for _ in range(3):
                Booking.objects.create(account=account, amount=amount)
            Account.objects.filter(pk=account.pk).update(balance=F("balance") + 3 * amount)

        def work(number: int) -> None:
            for n in range(ROUNDS):
                book(n + 1)
                total = Booking.objects.aggregate(total=Sum("amount"))["total"]
                assert total % 3 == 0

        together(work, WORKERS)
        account.refresh_from_db()
        assert account.balance == Booking.objects.aggregate(total=Sum("amount"))["total"]


class TestRightOfWay(TransactionTestCase):
    """The applier goes first, whoever holds the lock."""

    def setUp(self) -> None:
        import tempfile
        from pathlib import Path

        folder = Path(tempfile.mkdtemp())
        self.right_of_way = RightOfWay.open(folder, lock_yield_ms=20)
        connection.ensure_connection()
        connection.replication.speculation.write_lock.right_of_way = self.right_of_way
        self.addCleanup(
            setattr, connection.replication.speculation.write_lock, "right_of_way", None
        )

    def applier_waits(self) -> threading.Thread:
        """Another thread's write, which stands for the applier's, waits for the lock."""

        def write() -> None:
            with self.right_of_way.wanted():
                Account.objects.create(name="applied")

        thread = threading.Thread(target=elsewhere, args=(write,))
        thread.start()
        return thread

    def test_a_block_that_keeps_the_lock_is_doomed(self) -> None:
        thread = None
        try:
            with transaction.atomic():
                Account.objects.create(name="slow")
                Account.objects.create(name="slower")
                thread = self.applier_waits()
                thread.join(60)  # user code that takes its time
                assert not thread.is_alive()
                for _ in range(3):
                    try:
                        Account.objects.create(name="too late")
                    except TransactionConflict as conflict:
                        last = str(conflict)
            raise AssertionError("the block was committed")
        except TransactionConflict as conflict:
            assert str(conflict) == last
            assert "write lock" in last
        assert list(Account.objects.values_list("name", flat=True)) == ["applied"]
        Account.objects.create(name="afterwards")

    def test_a_statement_under_way_is_interrupted(self) -> None:
        endless = (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
            " UPDATE backend_account SET balance = (SELECT count(*) FROM n)"
        )
        Account.objects.create(name="ada")
        thread = None
        try:
            with transaction.atomic():
                Account.objects.create(name="bob")
                thread = self.applier_waits()
                with connection.cursor() as cursor:
                    cursor.execute(endless)
            raise AssertionError("the block was committed")
        except TransactionConflict:
            pass
        assert thread is not None
        thread.join(60)
        names = Account.objects.order_by("name").values_list("name", flat=True)
        assert list(names) == ["ada", "applied"]

    def test_between_the_steps_of_a_statement(self) -> None:
        """What fails then fails because the lock was taken away, and says so."""
        replication = connection.replication
        original = replication.capture.schema_changed

        def taken_away() -> None:
            original()
            elsewhere(replication.speculation._give_way)

        with pytest.raises(TransactionConflict), transaction.atomic():
            Account.objects.create(name="ada")
            replication.capture.schema_changed = taken_away
            try:
                with connection.cursor() as cursor, pytest.raises(TransactionConflict):
                    cursor.execute("CREATE TABLE fresh (id INTEGER PRIMARY KEY)")
            finally:
                del replication.capture.schema_changed
        assert "fresh" not in connection.introspection.table_names()

    def test_autocommit_starts_over(self) -> None:
        """The statement itself is quick; it lost the lock before it was done, and runs again."""
        Account.objects.create(name="ada")
        speculation = connection.replication.speculation
        statements = connection.replication.statements
        original = statements._speculate
        attempts = []

        def slow_once(statement: object) -> None:
            attempts.append(statement)
            original(statement)
            if len(attempts) == 1:
                self.applier_waits().join(60)

        statements._speculate = slow_once
        try:
            Account.objects.filter(name="ada").update(balance=F("balance") + 1)
        finally:
            statements._speculate = original
        assert len(attempts) == 2
        assert speculation.doomed is None
        assert Account.objects.get(name="ada").balance == 1
