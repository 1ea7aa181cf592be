"""What would slip past replication is refused, by whichever road it comes."""

from __future__ import annotations

import sqlite3

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3.statements import execution as statements
from raftdjango.backends.sqlite3.statements.classify import Kind
from raftdjango.exceptions import NotReplicable
from tests.backend.helpers import elsewhere, entries, raw
from tests.backend.models import Account

INSERT = "INSERT INTO backend_account (name, balance) VALUES ('ada', 0)"


def count_elsewhere() -> int:
    """As committed."""
    return int(elsewhere(Account.objects.count))


class TestCommitIsRefused(TransactionTestCase):
    def refused(self, function: object) -> None:
        with pytest.raises((DatabaseError, sqlite3.Error)):
            function()  # type: ignore[operator]
        assert count_elsewhere() == 0

    def test_in_sql(self) -> None:
        for sql in ("COMMIT", "END", " commit transaction", "/* x */ COMMIT", "ROLLBACK"):
            with transaction.atomic():
                raw(INSERT)
                self.refused(lambda sql=sql: raw(sql))
                transaction.set_rollback(True)

    def test_by_the_driver(self) -> None:
        with transaction.atomic():
            raw(INSERT)
            self.refused(connection.connection.commit)
            self.refused(lambda: connection.connection.execute("COMMIT"))
            self.refused(connection.connection.rollback)
            self.refused(lambda: connection.connection.executescript("SELECT 1"))
            transaction.set_rollback(True)

    def test_release_of_an_outermost_savepoint(self) -> None:
        """The authorizer cannot tell it from any other, so the journal's foreign key has to."""
        with transaction.atomic():
            raw(INSERT)  # so that the triggers are there
            transaction.set_rollback(True)
        with transaction.atomic():
            pass  # and are kept
        driver = connection.connection
        capture = connection.replication.capture
        try:
            with capture.guard.unlocked():
                driver.execute("SAVEPOINT outermost")
            capture.guard.transaction_open = True
            capture.allow_changes()
            connection.replication.speculation.run(lambda: driver.execute(INSERT))
            self.refused(lambda: driver.execute("RELEASE outermost"))
        finally:
            with capture.guard.unlocked():
                driver.rollback()
            capture.guard.transaction_open = False
            capture.forbid_changes()
        assert count_elsewhere() == 0

    def test_writes_of_the_driver_outside_a_transaction(self) -> None:
        """Compiled anew or from the driver's cache, with the triggers in place and without them."""
        connection.ensure_connection()
        driver = connection.connection
        self.refused(lambda: driver.execute(INSERT))
        for _ in range(2):
            with transaction.atomic():
                raw(INSERT)
                transaction.set_rollback(True)
            self.refused(lambda: driver.execute(INSERT))
        with transaction.atomic():
            pass  # the triggers are kept now
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            driver.execute(f"{INSERT} /* compiled now */")
        connection.replication.capture.allow_changes()
        try:
            # Even so there is the journal's foreign key.
            self.refused(lambda: driver.execute(INSERT))
        finally:
            connection.replication.capture.forbid_changes()

    def test_with_foreign_keys_off(self) -> None:
        """The journal's foreign key does not count then."""
        raw("PRAGMA foreign_keys = OFF")
        driver = connection.connection
        try:
            for _ in range(2):
                with transaction.atomic():
                    raw(INSERT)
                    self.refused(driver.commit)
                    transaction.set_rollback(True)
                self.refused(lambda: driver.execute(INSERT))
        finally:
            raw("PRAGMA foreign_keys = ON")

    def test_statement_that_was_let_pass_without_capture(self) -> None:
        """It is in the driver's cache, and no trigger would stop it."""
        Account.objects.create(name="stays")
        sql = "DELETE FROM backend_account"
        driver = connection.connection
        with transaction.atomic(), connection.replication.as_statements():
            raw(sql)
            transaction.set_rollback(True)
        with pytest.raises(sqlite3.Error):
            driver.execute(sql)
        assert count_elsewhere() == 1

    def test_savepoint_outside_a_transaction(self) -> None:
        with pytest.raises(NotReplicable, match="atomic"):
            raw("SAVEPOINT mine")
        connection.ensure_connection()
        with pytest.raises(sqlite3.DatabaseError):
            connection.connection.execute("SAVEPOINT mine")

    def test_begin_in_sql(self) -> None:
        with pytest.raises(NotReplicable, match=r"django\.db\.transaction"):
            raw("BEGIN IMMEDIATE")

    def test_nothing_may_change_between_transactions(self) -> None:
        def depth() -> int:
            return int(connection.connection.getlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH))

        for name, undo in (("ada", False), ("bob", True)):
            with transaction.atomic():
                assert depth() == 0
                Account.objects.create(name=name)
                assert depth() > 0
                transaction.set_rollback(undo)
            assert depth() == 0
        with pytest.raises(DatabaseError), transaction.atomic():
            raw("INSERT OR ROLLBACK INTO backend_account (name) VALUES (NULL)")
        assert depth() == 0

    def test_executescript(self) -> None:
        with connection.cursor() as cursor, pytest.raises(NotReplicable):
            cursor.executescript(INSERT)
        assert count_elsewhere() == 0


class TestRefused(TransactionTestCase):
    def assert_refused(self, sql: str, match: str | None = None) -> None:
        for inside in (False, True):
            with entries() as found, pytest.raises(NotReplicable, match=match):
                if inside:
                    with transaction.atomic():
                        raw(sql)
                else:
                    raw(sql)
            assert not found

    def test_attach_and_vacuum(self) -> None:
        self.assert_refused("ATTACH ':memory:' AS mine", "ATTACH")
        self.assert_refused("DETACH mine")
        self.assert_refused("VACUUM", "VACUUM")

    def test_pragmas_that_write(self) -> None:
        for pragma in (
            "query_only = OFF",
            "user_version = 3",
            "journal_mode = DELETE",
            "writable_schema = ON",
            "recursive_triggers = OFF",
            "wal_checkpoint",
            "optimize",
        ):
            self.assert_refused(f"PRAGMA {pragma}", pragma.split()[0])

    def test_what_to_do_instead_of_a_local_analysis(self) -> None:
        self.assert_refused("PRAGMA optimize", "ANALYZE is replicated: use it instead")

    def test_pragmas_that_read(self) -> None:
        assert raw("PRAGMA journal_mode") == [("wal",)]
        assert raw("PRAGMA table_info(backend_account)")
        assert raw("SELECT name FROM pragma_table_info('backend_account')")
        assert raw("SELECT value FROM json_each('[1]')") == [(1,)]

    def test_the_products_own_tables(self) -> None:
        raw("SELECT * FROM raftdjango_state")
        self.assert_refused("UPDATE raftdjango_state SET applied_index = 9", "raftdjango_state")
        self.assert_refused("DELETE FROM raftdjango_outcome", "raftdjango_outcome")
        self.assert_refused("DROP TABLE raftdjango_key", "raftdjango_key")
        self.assert_refused("DELETE FROM temp.raftdjango_journal")

    def test_temporary_tables(self) -> None:
        self.assert_refused("CREATE TEMP TABLE mine (id INTEGER PRIMARY KEY)", "temporary")

    def test_virtual_tables(self) -> None:
        self.assert_refused("CREATE VIRTUAL TABLE words USING fts5 (word)", "virtual")

    def test_rowids_that_are_no_keys(self) -> None:
        raw("CREATE TABLE named (name TEXT PRIMARY KEY)")
        raw('CREATE TABLE numbered (id INTEGER PRIMARY KEY, "ROWID" INTEGER)')
        try:
            raw("INSERT INTO named VALUES ('a')")
            raw("INSERT INTO numbered VALUES (1, 1)")
            for name in ("rowid", "oid", "_rowid_"):
                self.assert_refused(f"UPDATE named SET {name} = 9", "rowid of .named.")
            raw('UPDATE numbered SET "ROWID" = 2, oid = 3')
            assert elsewhere(lambda: raw("SELECT * FROM numbered")) == [(3, 2)]
        finally:
            raw("DROP TABLE named")
            raw("DROP TABLE numbered")

    def test_triggers(self) -> None:
        self.assert_refused(
            "CREATE TRIGGER mine AFTER INSERT ON backend_account BEGIN SELECT 1; END", "trigger"
        )

    def test_a_read_that_writes_is_not_executed(self) -> None:
        """Whatever the classifier takes it for."""
        unknown = "SELECT 1 /* and */"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(statements, "classify", lambda sql: Kind.READ)
            with pytest.raises(NotReplicable):
                raw(INSERT)
            with pytest.raises(NotReplicable), transaction.atomic():
                raw(INSERT)
            assert raw(unknown) == [(1,)]
        assert count_elsewhere() == 0


class TestNotReplicableTables(TransactionTestCase):
    """Tables that a file may have had before it was replicated."""

    def make(self, *statements: str) -> None:
        """Past replication, as the applier's own connection could."""
        from raftdjango.testing.consensus import Consensus

        driver = Consensus.of(str(connection.settings_dict["NAME"])).connection
        for statement in statements:
            driver.execute(statement)

    def refused(self, sql: str, match: str) -> None:
        with pytest.raises(NotReplicable, match=match):
            raw(sql)
        with pytest.raises(NotReplicable, match=match), transaction.atomic():
            raw(sql)

    def test_without_a_primary_key(self) -> None:
        self.make("CREATE TABLE keyless (value)")
        try:
            self.refused("INSERT INTO keyless VALUES (1)", '"keyless" has no primary key')
        finally:
            self.make("DROP TABLE keyless")

    def test_none_is_made_without_a_primary_key(self) -> None:
        for sql in ("CREATE TABLE keyless (a, b)", "CREATE TABLE keyless AS SELECT 1 AS a"):
            self.refused(sql, '"keyless" has no primary key.*Declare one')
        with transaction.atomic():
            with pytest.raises(NotReplicable):
                raw("CREATE TABLE keyless (a)")
            assert "keyless" not in connection.introspection.table_names()
            raw("CREATE TABLE keyed (a INTEGER PRIMARY KEY)")
            raw("INSERT INTO keyed VALUES (1)")
        try:
            assert raw("SELECT a FROM keyed") == [(1,)]
            raw("CREATE TABLE IF NOT EXISTS keyed (a INTEGER PRIMARY KEY)")
            raw("CREATE TABLE pairs (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID")
        finally:
            raw("DROP TABLE IF EXISTS pairs")
            raw("DROP TABLE keyed")

    def test_with_a_trigger_of_its_own(self) -> None:
        self.make(
            "CREATE TABLE watched (id INTEGER PRIMARY KEY)",
            "CREATE TRIGGER watcher AFTER INSERT ON watched BEGIN SELECT 1; END",
        )
        try:
            self.refused("INSERT INTO watched VALUES (1)", '"watcher"')
        finally:
            self.make("DROP TABLE watched")

    def test_virtual(self) -> None:
        self.make("CREATE VIRTUAL TABLE words USING fts5 (word)")
        try:
            self.refused("INSERT INTO words VALUES ('x')", '"words" is a virtual table')
        finally:
            self.make("DROP TABLE words")

    def test_null_in_a_primary_key(self) -> None:
        self.make("CREATE TABLE keyed (a TEXT, b TEXT, PRIMARY KEY (a, b))")
        try:
            self.refused("INSERT INTO keyed VALUES ('x', NULL)", "NULL in its primary key")
        finally:
            self.make("DROP TABLE keyed")

    def test_view(self) -> None:
        self.make("CREATE VIEW seen AS SELECT * FROM backend_account")
        try:
            with pytest.raises(DatabaseError):
                raw("DELETE FROM seen")
        finally:
            self.make("DROP VIEW seen")
