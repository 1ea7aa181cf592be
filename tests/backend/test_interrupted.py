"""The watchdog takes the lock away in the middle of something: whatever fails then says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import F
from django.test import TransactionTestCase
from django.test.utils import CaptureQueriesContext

from raftdjango.exceptions import ClusterUnavailable, TransactionConflict
from tests.backend.block_support import given_way_at
from tests.backend.helpers import elsewhere, raw
from tests.backend.models import Account, Tag
from tests.backend.test_autocommit import before_each

if TYPE_CHECKING:
    from collections.abc import Callable

JOURNAL_IS_READ = "FROM temp.raftdjango_journal"
CATALOGUE_IS_READ = "FROM main.sqlite_master WHERE name"


def forget_tables() -> None:
    connection.replication.capture._forget_specs()


class TestInterrupted(TransactionTestCase):
    def setUp(self) -> None:
        Account.objects.create(name="ada", balance=1)

    def tearDown(self) -> None:
        """Nothing of a lost block stays, and the connection is as good as new."""
        assert list(Account.objects.values_list("name", "balance")) == [("ada", 1)]
        Account.objects.filter(name="ada").update(balance=2)
        assert elsewhere(lambda: Account.objects.get().balance) == 2

    def lose(self, part: str, action: Callable[[], Any]) -> None:
        """Block that is lost while `action` executes a statement with `part` in it."""
        with pytest.raises(TransactionConflict, match="write lock") as last, transaction.atomic():
            Account.objects.filter(name="ada").update(balance=F("balance") + 1)
            with given_way_at(part) as met, pytest.raises(TransactionConflict) as first:
                action()
            assert met
        assert str(first.value) == str(last.value)

    def test_statement(self) -> None:
        self.lose("UPDATE", lambda: Account.objects.update(balance=5))

    def test_read(self) -> None:
        self.lose("count", lambda: Account.objects.count())

    def test_statement_that_is_logged(self) -> None:
        with CaptureQueriesContext(connection):
            self.lose("UPDATE", lambda: Account.objects.filter(name="ada").update(balance=5))

    def test_what_is_logged_is_not_quoted_on_this_connection(self) -> None:
        with given_way_at("QUOTE") as met, CaptureQueriesContext(connection) as queries:
            Account.objects.filter(name="o'hara").update(balance=5)
        assert not met
        assert "'o''hara'" in queries[0]["sql"]

    def test_iterator(self) -> None:
        self.lose("SELECT", lambda: list(Account.objects.iterator()))

    def test_savepoint(self) -> None:
        self.lose("SAVEPOINT", lambda: connection.savepoint())

    def test_query_for_update(self) -> None:
        self.lose(
            'SELECT "backend_account"', lambda: list(Account.objects.select_for_update().all())
        )

    def test_rows_read_for_update(self) -> None:
        self.lose('SELECT +"id"', lambda: list(Account.objects.select_for_update().all()))

    def test_note_of_a_row_read_for_update(self) -> None:
        self.lose(
            "INSERT INTO temp.raftdjango_journal",
            lambda: list(Account.objects.select_for_update().all()),
        )

    def test_table_looked_up_for_update(self) -> None:
        def action() -> None:
            forget_tables()
            list(Account.objects.select_for_update().all())

        self.lose(CATALOGUE_IS_READ, action)

    def test_table_looked_up_for_an_insert(self) -> None:
        def action() -> None:
            connection.replication.insert_shape("backend_tag", ("slug",))

        forget_tables()
        self.lose(CATALOGUE_IS_READ, action)

    def test_table_looked_up_for_names(self) -> None:
        self.lose(CATALOGUE_IS_READ, lambda: connection.replication.quoted("backend_tag"))

    def test_defaults_looked_up(self) -> None:
        self.lose(
            "pragma_table_info",
            lambda: connection.replication.insert_shape("backend_booking", ("id", "account_id")),
        )

    def test_triggers_put_in_place(self) -> None:
        connection.close()
        self.lose("CREATE TEMP TRIGGER", lambda: Tag.objects.create(slug="x"))

    def test_view_renewed(self) -> None:
        """At the look at the journal, and at the look at the view."""
        for part in (JOURNAL_IS_READ, "data_version"):
            with (
                pytest.raises(TransactionConflict, match="write lock"),
                transaction.atomic(),
                given_way_at(part) as met,
            ):
                Account.objects.filter(pk=999).update(balance=7)
            assert met, part

    def test_view_renewed_too_late(self) -> None:
        """Lost in the last moment that a watchdog could step in; nobody waits for a fresh view."""
        replication = connection.replication
        unwatch = replication.speculation.write_lock.unwatch

        def taken_away() -> None:
            replication.speculation.write_lock.unwatch = unwatch
            elsewhere(replication.speculation._give_way)

        with (
            before_each("refresh", lambda call: None) as calls,
            pytest.raises(TransactionConflict, match="write lock"),
            transaction.atomic(),
        ):
            raw("UPDATE backend_account SET balance = 5 WHERE id = 999")
            replication.speculation.write_lock.unwatch = taken_away
            Account.objects.filter(pk=999).update(balance=7)
        assert calls == []

    def test_commit(self) -> None:
        with (
            pytest.raises(TransactionConflict, match="write lock"),
            given_way_at(JOURNAL_IS_READ) as met,
            transaction.atomic(),
        ):
            Account.objects.create(name="bob")
            Account.objects.create(name="carl")
        assert met

    def test_schema_statement(self) -> None:
        for part in ("DROP TRIGGER", "CREATE TABLE", "INSERT INTO temp.raftdjango_journal"):
            self.lose(part, lambda: raw("CREATE TABLE fresh (id INTEGER PRIMARY KEY)"))
            assert "fresh" not in connection.introspection.table_names()

    def test_autocommit_starts_over(self) -> None:
        with given_way_at(JOURNAL_IS_READ) as met:
            Account.objects.filter(name="ada").update(balance=F("balance") + 1)
        assert met
        assert Account.objects.get().balance == 2
        Account.objects.update(balance=1)

    def test_autocommit_starts_over_before_it_has_written(self) -> None:
        forget_tables()
        with given_way_at(CATALOGUE_IS_READ) as met:
            raw("INSERT INTO backend_account (name, balance) VALUES ('bob', lower(0))")
        assert met
        Account.objects.filter(name="bob").delete()


class TestKeys(TransactionTestCase):
    """What is looked up for keys."""

    def setUp(self) -> None:
        Account.objects.create(name="ada")

    def test_probe(self) -> None:
        with pytest.raises(TransactionConflict), transaction.atomic():
            Account.objects.create(name="bob")
            with given_way_at("BETWEEN") as met, pytest.raises(TransactionConflict, match="lock"):
                Account.objects.create(name="carl")
            assert met
        assert Account.objects.count() == 1

    def test_highest_key(self) -> None:
        client = connection.replication.client

        def none_to_be_had(*args: object, **kwargs: object) -> range:
            raise ClusterUnavailable("The applier waits.")

        client.lease_keys = none_to_be_had
        connection.replication.allocator.reset()
        try:
            with pytest.raises(TransactionConflict), transaction.atomic():
                raw("UPDATE backend_account SET balance = 1")
                with given_way_at("FROM raftdjango_key") as met, pytest.raises(TransactionConflict):
                    Account.objects.create(name="carl")
                assert met
        finally:
            del client.lease_keys
        assert Account.objects.count() == 1

    def test_sequence_is_never_raised_outside_of_the_transaction(self) -> None:
        """It would be committed, on this machine alone."""
        client = connection.replication.client
        lease_keys = client.lease_keys

        def taken_away(*args: Any, **kwargs: Any) -> range:
            keys: range = lease_keys(*args, **kwargs)
            elsewhere(connection_here.replication.speculation._give_way)
            return range(keys.start + 1000, keys.stop + 1000)

        connection_here = connections[connection.alias]
        client.lease_keys = taken_away
        before = raw("SELECT * FROM sqlite_sequence ORDER BY name")
        try:
            with pytest.raises(TransactionConflict, match="lock"), transaction.atomic():
                raw("INSERT INTO backend_account (name, balance) VALUES ('bob', 0)")
        finally:
            del client.lease_keys
        assert raw("SELECT * FROM sqlite_sequence ORDER BY name") == before


class TestForeignKeysOff(TransactionTestCase):
    """Then nothing keeps a journal's row from being committed to the connection's own memory."""

    def test_statement_is_not_noted_outside_of_the_transaction(self) -> None:
        replication = connection.replication
        original = replication.capture.schema_changed

        def taken_away() -> None:
            original()
            elsewhere(replication.speculation._give_way)

        connection.disable_constraint_checking()
        try:
            with pytest.raises(TransactionConflict), transaction.atomic():
                raw("UPDATE backend_account SET balance = 1")
                replication.capture.schema_changed = taken_away
                try:
                    raw("REINDEX backend_account")
                finally:
                    del replication.capture.schema_changed
            assert replication.capture.entries() == []
        finally:
            connection.enable_constraint_checking()
