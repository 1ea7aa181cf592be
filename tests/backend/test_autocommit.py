"""Statements outside blocks: executed again after a conflict, final only on a fresh view."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F
from django.test import TestCase, TransactionTestCase

from raftdjango.backends.sqlite3.statements import execution as statements
from raftdjango.client import Outcome
from raftdjango.exceptions import (
    ClusterUnavailable,
    CommitUncertain,
    TransactionConflict,
    TransactionTooLarge,
)
from raftdjango.writeset import Verdict, VerdictKind
from tests.backend.helpers import elsewhere, entries, far_key, kinds, raw, together
from tests.backend.models import Account, Booking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def before_each(method: str, action: Callable[[int], Any]) -> Iterator[list[int]]:
    """Call `action(n)` right before the client's method is called for the n-th time."""
    client = connection.replication.client
    original = getattr(client, method)
    calls: list[int] = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(calls) + 1)
        action(len(calls))
        return original(*args, **kwargs)

    setattr(client, method, wrapped)
    try:
        yield calls
    finally:
        delattr(client, method)


@contextmanager
def answering(answer: Callable[[], Outcome]) -> Iterator[None]:
    """The client answers every proposal so."""
    client = connection.replication.client
    client.propose = lambda *args, **kwargs: answer()
    try:
        yield
    finally:
        del client.propose


def balance() -> int:
    return int(Account.objects.get(name="ada").balance)


def increment() -> None:
    Account.objects.filter(name="ada").update(balance=F("balance") + 1)


class TestConflicts(TransactionTestCase):
    def setUp(self) -> None:
        Account.objects.create(name="ada", balance=0)

    def test_executed_again_on_the_winners_row(self) -> None:
        def interfere(call: int) -> None:
            if call <= 2:
                elsewhere(
                    lambda: Account.objects.filter(name="ada").update(balance=F("balance") + 10)
                )

        with before_each("propose", interfere) as calls:
            increment()
        assert len(calls) == 3
        assert balance() == 21

    def test_a_bounded_number_of_times(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(statements, "ATTEMPTS_MAX", 3)
            patch.setattr(statements, "PAUSE_S_MAX", 0)

            def interfere(call: int) -> None:
                elsewhere(lambda: Account.objects.filter(name="ada").update(balance=100 + call))

            with before_each("propose", interfere) as calls, pytest.raises(TransactionConflict):
                increment()
        assert len(calls) == 3
        assert balance() == 103

    def test_many_at_once_lose_nothing(self) -> None:
        together(lambda number: [increment() for _ in range(10)], 4)
        assert balance() == 40

    def test_a_constraint_that_a_faster_one_broke_is_told_as_it_is(self) -> None:
        """At first a conflict of its own, and an IntegrityError when it is executed again."""

        def interfere(call: int) -> None:
            if call == 1:
                elsewhere(lambda: Account.objects.create(name="bob"))

        with before_each("propose", interfere), pytest.raises(IntegrityError) as caught:
            Account.objects.filter(name="ada").update(name=raw_function("bob"))
        assert not isinstance(caught.value, TransactionConflict)
        assert str(caught.value) == "UNIQUE constraint failed: backend_account.name"


def raw_function(value: str) -> Any:
    """An expression, so that the statement is no blind one."""
    from django.db.models import Value
    from django.db.models.functions import Lower

    return Lower(Value(value))


class TestStaleViews(TransactionTestCase):
    """`refresh()` brings what the node had not applied yet."""

    def test_no_row_is_said_on_a_fresh_view_only(self) -> None:
        def arrive(call: int) -> None:
            elsewhere(lambda: Account.objects.create(name="ada"))

        with before_each("refresh", arrive) as calls:
            increment()
        assert calls == [1]
        assert balance() == 1

    def test_no_row_on_a_fresh_view_is_no_row(self) -> None:
        with before_each("refresh", lambda call: None) as calls, entries() as found:
            assert Account.objects.filter(name="ada").update(balance=F("balance") + 1) == 0
        assert calls == [1]
        assert not found

    def test_a_constraint_is_said_to_fail_on_a_fresh_view_only(self) -> None:
        Account.objects.create(name="ada")

        def leave(call: int) -> None:
            elsewhere(lambda: Account.objects.filter(name="ada").delete())

        with before_each("refresh", leave) as calls:
            raw("INSERT INTO backend_account VALUES (9, 'ada', lower(7))")
        assert calls == [1]
        assert Account.objects.get().pk == 9

    def test_a_constraint_on_a_fresh_view_fails(self) -> None:
        Account.objects.create(name="ada")
        with before_each("refresh", lambda call: None) as calls, pytest.raises(IntegrityError):
            raw("INSERT INTO backend_account VALUES (9, 'ada', lower(7))")
        assert calls == [1]

    def test_in_a_block_it_stays_but_the_block_is_lost(self) -> None:
        Account.objects.create(name="ada")

        def leave(call: int) -> None:
            elsewhere(lambda: Account.objects.filter(name="ada").delete())

        with (
            before_each("refresh", leave),
            pytest.raises(TransactionConflict),
            transaction.atomic(),
        ):
            with pytest.raises(IntegrityError), transaction.atomic():
                Account.objects.create(name="ada")
            Account.objects.create(name="bob")
        assert not Account.objects.exists()

    def test_in_a_block_on_a_view_where_it_still_fails(self) -> None:
        """Others wrote meanwhile, but the constraint fails all the same."""
        Account.objects.create(name="ada")

        def bystander(call: int) -> None:
            elsewhere(lambda: Account.objects.create(name="carl"))

        with before_each("refresh", bystander), transaction.atomic():
            with pytest.raises(IntegrityError), transaction.atomic():
                Account.objects.create(name="ada")
            Account.objects.create(pk=far_key(), name="bob")
        assert Account.objects.count() == 3

    def test_in_a_block_that_met_no_error_nothing_is_asked(self) -> None:
        with before_each("refresh", lambda call: None) as calls, transaction.atomic():
            Account.objects.create(name="ada")
            Account.objects.create(name="bob")
        assert calls == []


class OrFail:
    """Of a statement that says OR FAIL stock SQLite keeps the rows before the one that failed."""

    insert = (
        "INSERT OR FAIL INTO backend_account (name, balance) VALUES ('a', 1), ('b', 1), ('a', 1)"
    )

    def test_earlier_rows_are_kept(self) -> None:
        with pytest.raises(IntegrityError, match="name"):
            raw(self.insert)
        assert set(Account.objects.values_list("name", flat=True)) == {"a", "b"}

    def test_so_are_earlier_updates(self) -> None:
        Account.objects.bulk_create(Account(pk=n, name=name) for n, name in enumerate("abc", 1))
        with pytest.raises(IntegrityError):
            raw("UPDATE OR FAIL backend_account SET name = 'x'")
        assert list(Account.objects.order_by("pk").values_list("name", flat=True)) == list("xbc")

    def test_none_are_of_any_other_statement(self) -> None:
        for verb in ("INSERT", "INSERT OR ABORT"):
            with pytest.raises(IntegrityError):
                raw(self.insert.replace("INSERT OR FAIL", verb))
            assert not Account.objects.exists()
        with pytest.raises(IntegrityError), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT OR FAIL INTO backend_account (name, balance) VALUES (%s, 1)",
                [["a"], ["b"], ["a"]],
            )
        assert not Account.objects.exists()


class TestOrFail(OrFail, TransactionTestCase):
    def test_the_error_is_said_on_a_fresh_view_only(self) -> None:
        Account.objects.create(name="a", balance=0)

        def remove(number: int) -> None:
            elsewhere(lambda: Account.objects.all().delete())

        sql = "INSERT OR FAIL INTO backend_account (name, balance) VALUES ('b', 1), ('a', 1)"
        with before_each("refresh", remove) as calls:
            raw(sql)
        assert calls == [1]
        assert Account.objects.count() == 2

    def test_they_are_one_entry(self) -> None:
        with entries() as found, pytest.raises(IntegrityError):
            raw(self.insert)
        assert [kinds(each) for each in found] == [["Insert", "Insert"]]

    def test_kept_rows_meet_a_faster_one(self) -> None:
        def overtake(number: int) -> None:
            if number == 1:
                elsewhere(lambda: Account.objects.create(name="b", balance=7))

        with before_each("propose", overtake), pytest.raises(IntegrityError):
            raw(self.insert)
        assert dict(Account.objects.values_list("name", "balance")) == {"a": 1, "b": 7}


class TestOrFailInATestCase(OrFail, TestCase):
    pass


class TestVerdicts(TransactionTestCase):
    """What a statement and a block raise for each verdict."""

    def raised(self, verdict: Verdict) -> BaseException:
        with answering(lambda: Outcome(verdict, 10**6)), pytest.raises(OperationalError) as caught:
            with transaction.atomic():
                Account.objects.create(name="ada")
                Account.objects.create(name="bob")
        assert not Account.objects.exists()
        return caught.value

    def test_conflict(self) -> None:
        error = self.raised(Verdict(VerdictKind.CONFLICT, table="backend_account", key=(1,)))
        assert isinstance(error, TransactionConflict)
        assert (error.table, error.key, error.log_index) == ("backend_account", (1,), 10**6)

    def test_conflict_of_schemas(self) -> None:
        error = self.raised(Verdict(VerdictKind.CONFLICT, message="schema"))
        assert isinstance(error, TransactionConflict)
        assert "schema was changed" in str(error)

    def test_expired(self) -> None:
        error = self.raised(Verdict(VerdictKind.EXPIRED))
        assert isinstance(error, ClusterUnavailable)

    def test_operational_error(self) -> None:
        error = self.raised(Verdict(VerdictKind.OPERATIONAL_ERROR, message="no such table: x"))
        assert str(error) == "no such table: x"

    def test_integrity_error(self) -> None:
        verdict = Verdict(VerdictKind.INTEGRITY_ERROR, message="FOREIGN KEY constraint failed")
        with answering(lambda: Outcome(verdict, 1)), pytest.raises(IntegrityError):
            with transaction.atomic():
                Account.objects.create(name="ada")

    def test_uncertain_outcome_passes_through(self) -> None:
        def uncertain() -> Outcome:
            raise CommitUncertain("?", resolver=lambda timeout_s: None)

        with answering(uncertain), pytest.raises(CommitUncertain):
            increment_or_create()
        with answering(uncertain), pytest.raises(CommitUncertain), transaction.atomic():
            increment_or_create()
        Account.objects.create(name="works again")


def increment_or_create() -> None:
    raw("INSERT INTO backend_account VALUES (1, 'x', lower(7))")


class TestCommit(TransactionTestCase):
    def test_broken_foreign_key_is_an_integrity_error_at_commit(self) -> None:
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            Booking.objects.create(account_id=far_key())
            Booking.objects.create(account_id=far_key())
        assert not isinstance(caught.value, TransactionConflict)
        assert not Booking.objects.exists()

    def test_foreign_key_mended_before_the_end(self) -> None:
        with transaction.atomic():
            key = far_key()
            Booking.objects.create(account_id=key)
            Account.objects.create(pk=key, name="late")
        assert Booking.objects.get().account.name == "late"

    def test_too_large_is_said_before_sending(self) -> None:
        client = connection.replication.client
        client.transaction_bytes_max = 10_000
        try:
            with (
                entries() as found,
                pytest.raises(TransactionTooLarge, match="TRANSACTION_BYTES_MAX"),
            ):
                with transaction.atomic():
                    for _ in range(3):
                        Booking.objects.create(account_id=1, note="x" * 5_000)
            assert not found
        finally:
            del client.transaction_bytes_max

    def test_expiry_is_in_cluster_time_after_twice_the_deadline(self) -> None:
        from raftdjango.conf import get_settings
        from raftdjango.writeset import decode_command

        client = connection.replication.client
        seen = []
        propose = client.propose

        def watch(
            proposal_id: bytes, command: bytes, *, timeout_s: float, **kwargs: Any
        ) -> Outcome:
            decoded = decode_command(command)
            seen.append((decoded.proposal_id == proposal_id, timeout_s))
            span = decoded.expires_at_ms - client.cluster_time_ms()
            assert 0 <= 2000 * timeout_s - span < 1000
            return propose(proposal_id, command, timeout_s=timeout_s, **kwargs)

        client.propose = watch
        try:
            with transaction.atomic():
                Account.objects.create(name="ada")
        finally:
            del client.propose
        assert seen == [(True, get_settings().commit_timeout_s)]

    def test_only_statement_of_a_block_goes_blind(self) -> None:
        with entries() as found:
            with transaction.atomic():
                Account.objects.create(name="ada")
            with transaction.atomic():
                Account.objects.filter(name="ada").exists()
                Account.objects.create(name="bob")
        assert [kinds(each) for each in found] == [["BlindInsert"], ["Insert"]]

    def test_a_block_that_read_first_never_goes_blind(self) -> None:
        """It would lose updates."""
        pk = Account.objects.create(name="ada", balance=1).pk

        def add() -> None:
            with transaction.atomic():
                account = Account.objects.get(pk=pk)
                account.balance += 1
                account.save(force_update=True)

        with entries() as found:
            add()
        assert kinds(*found) == ["Update"]
