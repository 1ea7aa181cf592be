"""The fault switch: what is raised, what is written, and that both are as a cluster would have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, transaction
from django.db.models import F
from django.test import TestCase, TransactionTestCase

from raftdjango.client import Outcome, connect, use_client
from raftdjango.exceptions import (
    ClusterUnavailable,
    CommitUncertain,
    ConstraintConflict,
    TransactionConflict,
)
from raftdjango.testing.consensus import InProcessClient
from raftdjango.testing.faults import (
    FaultNotMet,
    Injection,
    conflict,
    constraint_conflict,
    inject,
    unavailable,
    uncertain,
)
from raftdjango.transaction import atomic_retry
from raftdjango.transaction import retry as retry_module
from raftdjango.writeset import Command, Verdict, VerdictKind, WriteSet
from tests.backend.helpers import elsewhere, raw
from tests.backend.models import Account, Booking, Tag

pytest_plugins = ["raftdjango.testing.plugin"]


def balance() -> int:
    return Account.objects.get(name="ada").balance


def blind() -> None:
    Account.objects.filter(name="ada").update(balance=1)


def in_block() -> None:
    with transaction.atomic():
        account = Account.objects.get(name="ada")
        account.balance = 1
        account.save()
        Tag.objects.create(slug="in the same block")


def without_savepoint() -> None:
    with transaction.atomic(savepoint=False):
        Account.objects.filter(name="ada").update(balance=F("balance") + 1)
        Tag.objects.create(slug="in the same block")
    connection.replication.nested.settle()


def statement() -> None:
    Account.objects.filter(name="ada").update(balance=F("balance") + 1)


def blind_block() -> None:
    """Commits as the blind operation that its only statement could have been."""
    with transaction.atomic():
        blind()


class Switch:
    """Everything that holds inside Django's `TestCase` as well as outside of it."""

    databases = {"default", "other"}
    writes: list[Callable[[], None]]

    def setUp(self) -> None:
        patch = pytest.MonkeyPatch()
        self.addCleanup(patch.undo)  # type: ignore[attr-defined]
        patch.setattr(retry_module.random, "uniform", lambda low, high: 0)
        self.account = Account.objects.create(name="ada", balance=0)

    def test_a_conflict_names_the_row_and_writes_nothing(self) -> None:
        with inject(conflict), pytest.raises(TransactionConflict) as caught:
            in_block()
        assert (caught.value.table, caught.value.key) == ("backend_account", (self.account.pk,))
        assert "changed" in str(caught.value)
        assert balance() == 0
        assert not Tag.objects.exists()

    def test_a_block_that_is_run_again_gets_through(self) -> None:
        runs: list[int] = []

        @atomic_retry
        def block() -> None:
            runs.append(len(runs))
            Account.objects.filter(name="ada").update(balance=F("balance") + 1)
            Tag.objects.create(slug=f"run {len(runs)}")

        with inject(conflict, times=2) as injection:
            block()
        assert runs == [0, 1, 2]
        assert injection.happened == 2
        assert balance() == 1
        assert list(Tag.objects.values_list("slug", flat=True)) == ["run 3"]

    def test_a_lost_unique_race(self) -> None:
        with inject(constraint_conflict), pytest.raises(ConstraintConflict) as caught:
            with transaction.atomic():
                Tag.objects.create(slug="new")
        assert isinstance(caught.value, IntegrityError)
        assert str(caught.value) == "UNIQUE constraint failed: backend_tag.slug"
        assert not Tag.objects.exists()

    def test_an_unavailable_cluster_has_written_nothing(self) -> None:
        for write in self.writes:
            with inject(unavailable), pytest.raises(ClusterUnavailable, match="injected"):
                write()
            assert balance() == 0, write
            assert not Tag.objects.exists()

    def test_an_uncertain_write_that_was_not_made(self) -> None:
        for write in self.writes:
            with inject(uncertain), pytest.raises(CommitUncertain, match="injected") as caught:
                write()
            assert caught.value.resolve() is False
            assert balance() == 0, write
            assert not Tag.objects.exists()

    def test_an_uncertain_write_that_was_made_after_all(self) -> None:
        for write in self.writes:
            Account.objects.filter(name="ada").update(balance=0)
            Tag.objects.all().delete()
            with inject(uncertain, applied=True), pytest.raises(CommitUncertain) as caught:
                write()
            assert caught.value.resolve() is True
            assert balance() == 1, write
            assert Tag.objects.exists() == (write in (in_block, without_savepoint))
            Tag.objects.create(slug="life goes on")

    def test_a_single_statement_runs_again_by_itself(self) -> None:
        with inject(conflict, times=3) as injection:
            statement()
        assert injection.happened == 3
        assert balance() == 1

    def test_so_does_one_made_of_sql(self) -> None:
        with inject(conflict, times=2):
            raw("INSERT INTO backend_tag (slug) VALUES ('a'), ('b')")
        with inject(conflict):
            raw("DELETE FROM backend_account")
        assert (Account.objects.count(), Tag.objects.count()) == (0, 2)

    def test_one_of_known_keys_and_values_does_not(self) -> None:
        """Nothing but a constraint can stop it in a real cluster."""
        mine = Account.objects.filter(pk=self.account.pk)
        for write in (lambda: mine.update(balance=1), lambda: Tag.objects.create(slug="a")):
            with inject(conflict) as injection, pytest.raises(TransactionConflict):
                write()
            if connection.in_atomic_block:  # a test case's
                connection.set_rollback(False)
            assert injection.happened == 1
        assert (balance(), Tag.objects.count()) == (0, 0)

    def test_hooks_run_after_commits_only(self) -> None:
        def block() -> None:
            with transaction.atomic():
                Tag.objects.create(slug="hooked")
                transaction.on_commit(lambda: pytest.fail("a hook ran"))

        for fault in (conflict, unavailable, uncertain):
            with inject(fault), pytest.raises(Exception, match=r"first|injected"):
                block()

    def test_an_error_inside_can_be_caught_and_the_next_commit_made(self) -> None:
        with inject(conflict):
            try:
                in_block()
            except TransactionConflict:
                in_block()
        assert balance() == 1

    def test_reads_and_blocks_that_write_nothing_meet_no_fault(self) -> None:
        with inject(unavailable) as injection:
            assert balance() == 0
            with transaction.atomic():
                list(Account.objects.all())
            assert injection.happened == 0
            with pytest.raises(ClusterUnavailable):
                blind_block()

    def test_one_after_another_in_their_order(self) -> None:
        with inject(unavailable), inject(uncertain, times=2):
            for error in (ClusterUnavailable, CommitUncertain, CommitUncertain):
                with pytest.raises(error):
                    blind_block()
            blind_block()
        assert balance() == 1

    def test_until_the_end(self) -> None:
        with inject(unavailable, times=None) as injection:
            for _ in range(5):
                with pytest.raises(ClusterUnavailable):
                    blind_block()
        assert injection.happened == 5
        blind()

    def test_a_fault_that_does_not_happen_fails_the_test(self) -> None:
        with pytest.raises(FaultNotMet, match="was to happen 2 times on 'default' and happened 1"):
            with inject(conflict, times=2), pytest.raises(TransactionConflict):
                in_block()
        with pytest.raises(FaultNotMet, match="at least once"), inject(conflict, times=None):
            pass

    def test_what_was_written_before_meets_no_fault_and_what_was_written_within_does(self) -> None:
        """A `TestCase` would commit them later, by whatever comes next."""
        self.account.delete()
        with pytest.raises(FaultNotMet), inject(unavailable):
            pass
        Tag.objects.create(slug="a")
        with pytest.raises(ClusterUnavailable), inject(unavailable):
            Tag.objects.all().delete()
        with transaction.atomic():
            Tag.objects.create(slug="b")
        assert Tag.objects.count() == 2

    def test_another_error_is_not_hidden_by_that(self) -> None:
        with pytest.raises(ZeroDivisionError), inject(conflict):
            1 / 0
        blind()
        assert balance() == 1

    def test_another_database_is_another_matter(self) -> None:
        with pytest.raises(FaultNotMet), inject(unavailable, using="other"):
            blind()


class TestInTestCase(Switch, TestCase):
    # As after any database error outside of a block, a test's own transaction would be broken.
    writes = [in_block, without_savepoint, blind_block]

    def test_deferred_checks_still_work(self) -> None:
        """What was made under an injected doubt is captured like anything else afterwards."""
        with inject(uncertain, applied=True), pytest.raises(CommitUncertain):
            in_block()
        with transaction.atomic():
            Booking.objects.create(account=self.account, amount=1)
        assert Booking.objects.count() == 1

    def test_nobody_else_can_write_meanwhile(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="Use TransactionTestCase"):
            with inject(conflict, before=lambda: None):
                pass


class TestInTransactionTestCase(Switch, TransactionTestCase):
    writes = [in_block, without_savepoint, blind_block, blind, statement]

    def test_somebody_else_has_won(self) -> None:
        """So that code which goes on with the winner's row finds one."""

        def win() -> None:
            Tag.objects.create(slug="new")

        with inject(constraint_conflict, before=win) as injection:
            tag, created = Tag.objects.get_or_create(slug="new")
        assert (tag.slug, created, injection.happened) == ("new", False, 1)

    def test_each_time(self) -> None:
        @atomic_retry
        def block() -> None:
            account = Account.objects.get(name="ada")
            account.balance *= 2
            account.save()

        def win() -> None:
            Account.objects.filter(name="ada").update(balance=F("balance") + 1)

        with inject(conflict, times=2, before=win):
            block()
        assert balance() == 4

    def test_what_goes_wrong_there_is_told(self) -> None:
        with pytest.raises(ZeroDivisionError), inject(conflict, before=lambda: 1 / 0):
            statement()

    def test_other_threads_meet_it_too(self) -> None:
        def other() -> str:
            try:
                blind()
            except ClusterUnavailable:
                return "unavailable"
            return "written"

        with inject(unavailable):
            assert elsewhere(other) == "unavailable"
        assert elsewhere(other) == "written"


def test_it_works_in_test_databases_only(db: None) -> None:
    """There is no switch in what talks to a real node."""
    with (
        pytest.raises(ImproperlyConfigured, match="not a replicated"),
        inject(conflict, using="plain"),
    ):
        pass
    client = connection.replication.client
    assert isinstance(client, InProcessClient)
    use_client(DEFAULT_DB_ALIAS, None)
    connection.replication.forget_client()
    try:
        assert not isinstance(connect(DEFAULT_DB_ALIAS), InProcessClient)
        with pytest.raises(ImproperlyConfigured, match="test databases only"), inject(conflict):
            pass
    finally:
        use_client(DEFAULT_DB_ALIAS, InProcessClient)
        connection.replication.forget_client()


def test_an_uncertain_write_that_lost_was_not_made(db: None) -> None:
    injection = Injection(uncertain, 1, applied=True)
    lost = Outcome(Verdict(VerdictKind.CONFLICT), log_index=2)
    command = Command(b"of nobody's proposal....", 10**15, WriteSet(1, ()))
    with pytest.raises(CommitUncertain) as caught:
        injection.meet("default", command, lambda: 1, lambda: lost)
    assert caught.value.resolve() is False


def test_mistakes_of_its_use_are_named(db: None) -> None:
    with pytest.raises(ValueError, match="at least once"), inject(conflict, times=0):
        pass
    with pytest.raises(ValueError, match="uncertain"), inject(conflict, applied=True):
        pass


@pytest.mark.django_db
def test_the_fixture_lasts_to_the_end_of_the_test(
    inject_fault: Callable[..., Injection],
) -> None:
    Account.objects.create(name="ada", balance=0)
    injection = inject_fault(unavailable, times=2)
    for _ in range(2):
        with pytest.raises(ClusterUnavailable):
            blind_block()
    assert injection.happened == 2


def test_and_no_longer(db: Any) -> None:
    Account.objects.create(name="ada", balance=0)
    blind()
    assert balance() == 1
