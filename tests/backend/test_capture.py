"""Every row change is in the entry, as SQLite stored it, in the order in which it happened."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import pytest
from django.db import connection, models, transaction
from django.db.models import F
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3.capture import journal
from raftdjango.backends.sqlite3.capture.journal import same
from raftdjango.backends.sqlite3.capture.triggers import KEPT_TABLES_MAX, WIDTH_MIN
from raftdjango.writeset import Delete, Insert, Table, Update, Value
from tests.backend.helpers import elsewhere, entries, kinds, only, raw
from tests.backend.models import Account, Booking, Reading, Tag

# All tests run in verify mode: the applier compares the tables with the speculation's.


class TestRows(TransactionTestCase):
    def test_cascade_of_the_orm(self) -> None:
        ada = Account.objects.create(name="ada")
        Booking.objects.create(account=ada)
        with entries() as found:
            ada.delete()
        assert sorted(kinds(*found)) == ["Delete", "Delete"]

    def test_foreign_key_action_of_the_database(self) -> None:
        self.make(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
            "CREATE TABLE child (id INTEGER PRIMARY KEY,"
            " parent_id REFERENCES parent (id) ON DELETE CASCADE)",
            "CREATE TABLE loose (id INTEGER PRIMARY KEY,"
            " parent_id REFERENCES parent (id) ON DELETE SET NULL)",
        )
        raw("INSERT INTO parent VALUES (1)")
        raw("INSERT INTO child VALUES (1, 1), (2, 1)")
        raw("INSERT INTO loose VALUES (1, 1)")
        with entries() as found:
            raw("DELETE FROM parent")
        assert sorted(kinds(*found)) == ["Delete", "Delete", "Delete", "Update"]
        assert elsewhere(lambda: raw("SELECT * FROM loose")) == [(1, None)]
        for name in ("loose", "child", "parent"):
            raw(f"DROP TABLE {name}")

    def make(self, *statements: str) -> None:
        for statement in statements:
            raw(statement)

    def test_replace_journals_the_row_it_deletes(self) -> None:
        ada = Account.objects.create(name="ada")
        with entries() as found:
            raw("INSERT OR REPLACE INTO backend_account VALUES (77, 'ada', 3)")
        deleted, inserted = only(found)
        assert isinstance(deleted, Delete)
        assert deleted.key == (ada.pk,)
        assert isinstance(inserted, Insert)
        assert inserted.row == (77, "ada", 3)

    def test_upsert_is_an_update(self) -> None:
        Account.objects.create(name="ada", balance=1)
        with entries() as found:
            Account.objects.bulk_create(
                [Account(name="ada", balance=5), Account(name="bob", balance=6)],
                update_conflicts=True,
                unique_fields=["name"],
                update_fields=["balance"],
            )
        assert kinds(*found) == ["Update", "Insert"]

    def test_or_ignore_journals_nothing_for_what_it_ignores(self) -> None:
        Account.objects.create(name="ada")
        with entries() as found:
            Account.objects.bulk_create(
                [Account(name="ada"), Account(name="bob")], ignore_conflicts=True
            )
        assert kinds(*found) == ["Insert"]

    def test_unique_values_that_swap_places(self) -> None:
        """Legal in this order only."""
        for name in ("a", "b"):
            Account.objects.create(name=name)
        with transaction.atomic():
            Account.objects.filter(name="a").update(name="c")
            Account.objects.filter(name="b").update(name="a")
            Account.objects.filter(name="c").update(name="b")
        assert sorted(Account.objects.values_list("name", flat=True)) == ["a", "b"]

    def test_changed_primary_key(self) -> None:
        Tag.objects.create(slug="old")
        with entries() as found:
            Tag.objects.filter(slug="old").update(slug=models.functions.Lower(models.Value("NEW")))
        (update,) = only(found)
        assert isinstance(update, Update)
        assert update.key == ("old",)
        assert update.changes == ((0, "new"),)

    def test_many_to_many(self) -> None:
        ada, bob = (Account.objects.create(name=name) for name in ("ada", "bob"))
        tag = Tag.objects.create(slug="x")
        with entries() as found:
            tag.accounts.set([ada, bob])
            tag.accounts.set([bob])
        assert [kinds(each) for each in found] == [["Insert", "Insert"], ["Delete"]]

    def test_executemany(self) -> None:
        with entries() as found, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO backend_account (name, balance) VALUES (%s, %s)",
                ((name, 1) for name in ("ada", "bob")),
            )
            assert cursor.rowcount == 2
        assert kinds(*found) == ["Insert", "Insert"]

    def test_returning_rowcount_and_lastrowid(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO backend_account VALUES (7, 'ada', 0) RETURNING name")
            assert cursor.fetchall() == [("ada",)]
            assert cursor.lastrowid == 7
            cursor.execute("UPDATE backend_account SET balance = 1 RETURNING id, balance")
            assert cursor.fetchone() == (7, 1)
            assert cursor.fetchone() is None
            assert cursor.rowcount == 1
            cursor.execute("DELETE FROM backend_account")
            assert cursor.rowcount == 1
            assert cursor.description is None

    def test_with_clause(self) -> None:
        Account.objects.create(name="ada")
        raw("WITH x AS (SELECT 5 AS n) UPDATE backend_account SET balance = (SELECT n FROM x)")
        assert Account.objects.get().balance == 5


class TestValues(TransactionTestCase):
    def test_every_storage_class_comes_back_as_it_was(self) -> None:
        values = {
            "number": 1e308,
            "text": "\x00 ünïcode \U0001f600",
            "data": bytes(range(256)),
            "amount": decimal.Decimal("123456789.125"),
            "at": dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=dt.UTC),
            "uuid": uuid.UUID(int=2**128 - 1),
            "extra": {"a": [1, None, "x"]},
        }
        with transaction.atomic():
            pk = Reading.objects.create(**values).pk
            Reading.objects.filter(pk=pk).update(number=F("number") / 2)
        reading = elsewhere(lambda: Reading.objects.get(pk=pk))
        values["number"] = 5e307
        for name, value in values.items():
            assert getattr(reading, name) == value
        assert reading.doubled == 1e308

    def test_values_without_a_declared_type(self) -> None:
        raw("CREATE TABLE loose (id INTEGER PRIMARY KEY, a)")
        values = [None, 0, 2**63 - 1, -(2**63), 1.0, -0.0, float("inf"), "", "1", b"", b"\xff"]
        with transaction.atomic():
            for number, value in enumerate(values):
                raw("INSERT INTO loose VALUES (%s, %s)", [number, value])
        found = elsewhere(lambda: raw("SELECT a FROM loose ORDER BY id"))
        for expected, (value,) in zip(values, found, strict=True):
            assert same(expected, value), (expected, value)
        for number, value in enumerate(reversed(values)):
            raw("UPDATE loose SET a = %s WHERE id = %s", [value, number])
        found = elsewhere(lambda: raw("SELECT a FROM loose ORDER BY id DESC"))
        for expected, (value,) in zip(values, found, strict=True):
            assert same(expected, value), (expected, value)
        raw("DROP TABLE loose")

    def test_one_and_one_point_zero_are_different(self) -> None:
        assert not same(1, 1.0)
        assert not same(0.0, -0.0)
        assert not same("1", b"1")
        assert same(None, None)
        assert same(1.5, 1.5)

    def test_text_that_is_no_utf8(self) -> None:
        connection.ensure_connection()
        connection.connection.create_function("mine", 0, lambda: 3)
        with pytest.raises(Exception, match="UTF-8") as caught:
            raw("INSERT INTO backend_account VALUES (1, CAST(x'ff' AS TEXT), 0)")
        assert not Account.objects.exists()
        # The error holds the journal's cursor, whose query would be in the way of this.
        connection.connection.create_function("mine", 0, lambda: 4)
        assert caught.value


class TestTables(TransactionTestCase):
    def test_a_table_wider_than_the_journal(self) -> None:
        width = WIDTH_MIN * 3
        columns = ", ".join(f"c{n} INTEGER" for n in range(width))
        raw(f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {columns})")
        marks = ", ".join("%s" for _ in range(width + 1))
        for key in (1, 2):
            with transaction.atomic():
                raw(f"INSERT INTO wide VALUES ({marks})", [key, *range(width)])
                raw(f"UPDATE wide SET c{width - 1} = -1 WHERE id = {key}")
        rows = elsewhere(lambda: raw("SELECT * FROM wide"))
        assert rows == [(key, *range(width - 1), -1) for key in (1, 2)]
        raw("DROP TABLE wide")

    def test_more_tables_than_are_kept(self) -> None:
        count = KEPT_TABLES_MAX + 3
        names = [f"many_{n}" for n in range(count)]
        for name in names:
            raw(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, a)")
        for turn in range(3):
            with transaction.atomic():
                for name in names:
                    raw(f"INSERT INTO {name} VALUES ({turn}, 0)")
        for name in names:
            assert elsewhere(lambda name=name: raw(f"SELECT count(*) FROM {name}")) == [(3,)]
            raw(f"DROP TABLE {name}")

    def test_without_rowid_and_odd_names(self) -> None:
        raw('CREATE TABLE "odd ""name" ("the key" TEXT PRIMARY KEY, "select" TEXT) WITHOUT ROWID')
        raw("INSERT INTO \"odd \"\"name\" VALUES ('a', 'b')")
        raw('UPDATE "odd ""name" SET "select" = \'c\'')
        assert elsewhere(lambda: raw('SELECT * FROM "odd ""name"')) == [("a", "c")]
        raw('DROP TABLE "odd ""name"')

    def test_schema_changed_by_somebody_else(self) -> None:
        """The triggers of this connection are orphans then; none may fire, none may be missing."""
        raw("CREATE TABLE other (id INTEGER PRIMARY KEY, a)")
        for _ in range(2):
            with transaction.atomic():
                raw("INSERT INTO other (a) VALUES (1)")

        def remake() -> None:
            raw("ALTER TABLE other RENAME TO gone")
            raw("CREATE TABLE other (b, a, id INTEGER PRIMARY KEY)")

        elsewhere(remake)
        with entries() as found, transaction.atomic():
            raw("INSERT INTO other (a, b) VALUES (1, 2)")
            raw("UPDATE gone SET a = 5 WHERE id = 1")
        insert, update = only(found)
        assert insert.row == (2, 1, 1)
        assert update.table.name == "gone"
        for name in ("other", "gone"):
            raw(f"DROP TABLE {name}")


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        (1, 1, False),
        (None, None, False),
        (1.5, 1.5, False),
        (0.0, 0.0, False),
        (0.0, -0.0, True),
        (1, 1.0, True),
        ("a", b"a", True),
        (None, 0, True),
        ("a", "b", True),
    ],
)
def test_a_change_is_what_sqlite_would_store_otherwise(
    old: Value, new: Value, changed: bool
) -> None:
    update = journal._update(Table("t", ("id", "a"), (0,)), (1, old), (1, new))
    assert bool(update.changes) is changed
    assert same(old, new) is not changed
