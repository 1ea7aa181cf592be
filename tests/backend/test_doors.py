"""The driver's own methods: none leads past replication, and none is new."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import TransactionTestCase

from raftdjango.exceptions import NotReplicable
from tests.backend.helpers import elsewhere, raw
from tests.backend.models import Account, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.backends.sqlite3.transactions.locked import LockedConnection

INSERT = "INSERT INTO backend_account (name, balance) VALUES ('ada', 0)"

CONNECTION = {
    "DataError, DatabaseError, Error, IntegrityError, InterfaceError, InternalError, "
    "NotSupportedError, OperationalError, ProgrammingError, Warning": "classes of errors",
    "execute, executemany, executescript, cursor, iterdump": (
        "SQL: the guard is asked; changes of rows are refused"
    ),
    "__call__": "compiles SQL, and the guard is asked; only a cursor executes it",
    "commit, rollback, __enter__, __exit__": "SQL of the driver's: the guard is asked",
    "close": "rolls back",
    "isolation_level, autocommit": "only to what they are already",
    "blobopen": "only to read",
    "deserialize": "refused",
    "set_authorizer": "refused",
    "setlimit": "not of triggers' depth; the others have statements fail, or not",
    "setconfig": "only what SQL means with quotes, and plans",
    "enable_load_extension, load_extension": "machine code may do anything; noted",
    "create_function, create_aggregate, create_window_function, create_collation": (
        "local speculation alone uses them: nodes apply with connections of their own"
    ),
    "backup": "writes another database; as its target there is no stopping it: documented",
    "serialize, getlimit, getconfig, in_transaction, total_changes": "read",
    "interrupt, set_progress_handler, set_trace_callback": "have statements fail, or watch them",
    "row_factory, text_factory": "what is fetched; capture fetches without",
    "__del__, __module__, __text_signature__": "of any class",
}
CURSOR = {
    "execute, executemany, executescript": "SQL: the guard is asked",
    "__iter__, __next__, fetchone, fetchmany, fetchall": "read",
    "arraysize, description, lastrowid, rowcount, connection": "tell",
    "row_factory": "what is fetched; capture fetches without",
    "setinputsizes, setoutputsize": "do nothing",
    "close": "resets the statement",
    "__module__": "of any class",
}


@pytest.mark.parametrize(
    ("kind", "known"), [(sqlite3.Connection, CONNECTION), (sqlite3.Cursor, CURSOR)]
)
def test_somebody_has_looked_at_everything_that_the_driver_offers(
    kind: type, known: dict[str, str]
) -> None:
    looked_at = {name for names in known for name in names.split(", ")}
    assert set(dir(kind)) - set(dir(object)) <= looked_at


def driver() -> LockedConnection:
    connection.ensure_connection()
    found: LockedConnection = connection.connection
    return found


class TestDoors(TransactionTestCase):
    def refused(self, work: Callable[[], Any], match: str) -> None:
        with pytest.raises(NotReplicable, match=match):
            work()
        with transaction.atomic():
            Account.objects.create(name="undone")
            with pytest.raises(NotReplicable, match=match):
                work()
            transaction.set_rollback(True)

    def test_blobs_are_only_read(self) -> None:
        reading = Reading.objects.create(data=b"hello")

        def write() -> None:
            with driver().blobopen("backend_reading", "data", reading.pk) as blob:
                blob.write(b"XX")

        self.refused(write, "readonly=True")
        with driver().blobopen("backend_reading", "data", reading.pk, readonly=True) as blob:
            assert blob.read() == b"hello"
            blob.seek(0)
            with pytest.raises(sqlite3.OperationalError):
                blob.write(b"XX")
        assert bytes(elsewhere(Reading.objects.get).data) == b"hello"

    def test_the_guard_stays(self) -> None:
        self.refused(lambda: driver().set_authorizer(None), "set_authorizer")
        limit = sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH
        self.refused(lambda: driver().setlimit(limit, 10), "depth")
        lengths = sqlite3.SQLITE_LIMIT_LENGTH
        before = driver().setlimit(lengths, 10_000)
        assert driver().setlimit(lengths, before) == 10_000

    def test_settings(self) -> None:
        triggers, foreign_keys, double_quotes = 1003, 1002, 1013
        for setting in (triggers, foreign_keys):
            self.refused(lambda setting=setting: driver().setconfig(setting, False), "setconfig")
        if hasattr(sqlite3.Connection, "setconfig"):
            driver().setconfig(double_quotes, True)

    def test_the_connection_stays_at_its_database(self) -> None:
        copy = driver().serialize()
        self.refused(lambda: driver().deserialize(copy), "deserialize")

    def test_transactions_of_the_drivers_own(self) -> None:
        self.refused(lambda: setattr(driver(), "isolation_level", "DEFERRED"), "transaction")
        self.refused(lambda: setattr(driver(), "autocommit", True), "transaction")
        with transaction.atomic():
            Account.objects.create(name="ada")
            driver().isolation_level = None
            assert driver().in_transaction
        assert elsewhere(Account.objects.count) == 1

    def test_autocommit_of_the_drivers_own_is_not_asked_for(self) -> None:
        connection.close()
        options = connection.settings_dict["OPTIONS"]
        options["autocommit"] = True
        try:
            with transaction.atomic():
                Account.objects.create(name="undone")
                transaction.set_rollback(True)
            assert not driver().in_transaction
        finally:
            del options["autocommit"]
            connection.close()

    def test_leaving_the_connection_as_a_context(self) -> None:
        with transaction.atomic():
            raw(INSERT)
            with pytest.raises(sqlite3.DatabaseError), driver():
                pass
            transaction.set_rollback(True)
        assert elsewhere(Account.objects.count) == 0

    def test_rows_are_changed_through_djangos_cursors(self) -> None:
        """Which see to keys, and to what the block has done besides."""
        changes = (INSERT, f"WITH w AS (SELECT 1) {INSERT}", "DELETE FROM backend_account")
        with transaction.atomic():
            Account.objects.create(name="undone")
            for execute in (driver().execute, driver().cursor().execute):
                for sql in changes:
                    with pytest.raises(NotReplicable, match="Django's cursors"):
                        execute(sql)
            with pytest.raises(NotReplicable, match="Django's cursors"):
                driver().executemany("UPDATE backend_account SET balance = ?", [(1,)])
            transaction.set_rollback(True)
        with transaction.atomic():
            Account.objects.create(name="kept")
            assert driver().execute("SELECT count(*) FROM backend_account").fetchone() == (1,)
            with pytest.raises(NotReplicable):
                driver().execute(INSERT)
        assert [account.name for account in elsewhere(lambda: list(Account.objects.all()))] == [
            "kept"
        ]

    def test_what_comes_in_by_a_side_door_is_committed_with_the_rest(self) -> None:
        """A block of one statement commits as that statement, if nothing else was written."""
        with transaction.atomic():
            Account.objects.create(name="one")
            sqlite3.Cursor(driver()).execute(INSERT)
        assert elsewhere(Account.objects.count) == 2


class TestOwnConnectionOfAnIterator(TransactionTestCase):
    def test_it_only_reads(self) -> None:
        Account.objects.create(name="bob")
        with closing(connection.chunked_cursor()) as cursor:
            for sql in ("PRAGMA query_only = OFF", INSERT, "BEGIN IMMEDIATE", "ATTACH '' AS mine"):
                with pytest.raises(NotReplicable):
                    cursor.execute(sql)
            with pytest.raises(NotReplicable):
                cursor.executemany("DELETE FROM backend_account WHERE id = %s", [(1,)])
            with pytest.raises(NotReplicable):
                cursor.connection.set_authorizer(None)
            with pytest.raises(DatabaseError):
                cursor.execute("SELECT nothing FROM backend_account")
            cursor.execute("SELECT name FROM backend_account")
            assert cursor.fetchall() == [("bob",)]
