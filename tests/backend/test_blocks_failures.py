"""Constraints that fail inside a block, where user code goes on: confirmed on a fresh view at commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction

from raftdjango.backends.sqlite3.transactions import failures
from raftdjango.exceptions import TransactionConflict
from tests.backend.block_support import (
    INSERT,
    Refreshed,
    create,
    fails,
    many,
    names,
    refreshing,
)
from tests.backend.helpers import entries, kinds, raw
from tests.backend.models import Account, Tag

if TYPE_CHECKING:
    pass


class TestConfirmed(Refreshed):
    """What failed because of the block's own rows is no conflict."""

    def test_row_of_the_same_block(self) -> None:
        with transaction.atomic():
            create("ada")
            fails(lambda: create("ada"))
            Tag.objects.create(slug="x")
        assert names() == ["ada"]
        assert Tag.objects.exists()

    def test_row_that_was_there(self) -> None:
        create("ada")
        with transaction.atomic():
            fails(lambda: create("ada"))
            create("bob")
        assert names() == ["ada", "bob"]

    def test_get_or_create(self) -> None:
        with transaction.atomic():
            create("ada")
            fails(lambda: Account.objects.get_or_create(balance=5, defaults={"name": "ada"}))
            fails(lambda: Account.objects.update_or_create(balance=5, defaults={"name": "ada"}))
            assert Account.objects.get_or_create(name="bob")[1]
            assert not Account.objects.update_or_create(name="bob", defaults={"balance": 3})[1]
        assert names() == ["ada", "bob"]

    def test_several_at_different_points(self) -> None:
        with transaction.atomic():
            for name in ("ada", "bob", "carl"):
                create(name)
                fails(lambda name=name: create(name))
                Account.objects.filter(name=name).update(balance=7)
            fails(lambda: create("ada"))
        assert names() == ["ada", "bob", "carl"]

    def test_row_deleted_later(self) -> None:
        with transaction.atomic():
            ada = create("ada")
            fails(lambda: create("ada"))
            ada.delete()
            create("bob")
        assert names() == ["bob"]

    def test_row_renamed_later(self) -> None:
        with transaction.atomic():
            ada = create("ada")
            fails(lambda: create("ada"))
            Account.objects.filter(pk=ada.pk).update(name="eva")
            create("ada")
            fails(lambda: create("eva"))
        assert names() == ["ada", "eva"]

    def test_row_renamed_earlier(self) -> None:
        create("ada")
        with transaction.atomic():
            Account.objects.filter(name="ada").update(name="eva")
            fails(lambda: create("eva"))
            create("ada")
        assert names() == ["ada", "eva"]

    def test_row_undone_later(self) -> None:
        with transaction.atomic():
            savepoint = connection.savepoint()
            create("ada")
            fails(lambda: create("ada"))
            transaction.savepoint_rollback(savepoint)
            create("ada")
            create("bob")
            fails(lambda: create("bob"))
        assert names() == ["ada", "bob"]

    def test_journal_undone_to_different_lengths(self) -> None:
        """Places in the journal are used again, for other rows."""
        with transaction.atomic():
            create("0")
            for name in ("ada", "bob", "carl"):
                savepoint = connection.savepoint()
                create(f"{name} before")
                inner = connection.savepoint()
                create(name)
                fails(lambda name=name: create(name))
                transaction.savepoint_rollback(inner)
                create(f"{name} after")
                fails(lambda name=name: create(f"{name} before"))
                fails(lambda name=name: create(f"{name} after"))
                transaction.savepoint_rollback(savepoint)
            create("dora")
            fails(lambda: create("0"))
        assert names() == ["0", "dora"]

    def test_inside_a_savepoint_of_a_savepoint(self) -> None:
        with transaction.atomic():
            with transaction.atomic():
                create("ada")
                with transaction.atomic():
                    fails(lambda: create("ada"))
                fails(lambda: Account.objects.bulk_create([Account(name="b"), Account(name="ada")]))
            create("bob")
        assert names() == ["ada", "bob"]

    def test_update(self) -> None:
        with transaction.atomic():
            create("ada")
            create("bob")
            fails(lambda: Account.objects.filter(name="bob").update(name="ada"))
        assert names() == ["ada", "bob"]

    def test_not_null_and_check(self) -> None:
        with transaction.atomic():
            create("ada")
            fails(lambda: Account.objects.filter(name="ada").update(name=None), match="NOT NULL")
            fails(lambda: raw("INSERT INTO backend_reading (extra) VALUES ('{')"), match="CHECK")
        assert names() == ["ada"]

    def test_many(self) -> None:
        """What the sets of parameters before the failed one wrote is not among the rows before it."""

        def insert(*found: str) -> None:
            many(INSERT, *([name] for name in found))

        with transaction.atomic():
            create("ada")
            fails(lambda: insert("bob", "ada"), match="name")
            try:
                insert("carl", "ada")
            except IntegrityError:
                pass
            fails(lambda: create("carl"))
        assert names() == ["ada", "carl"]

    def test_or_fail(self) -> None:
        with transaction.atomic():
            create("ada")
            for name in ("bob", "carl"):
                with pytest.raises(IntegrityError):
                    raw(
                        "INSERT OR FAIL INTO backend_account (name, balance)"
                        f" VALUES ('{name}', 0), ('ada', 0)"
                    )
            fails(lambda: create("bob"))
        assert names() == ["ada", "bob", "carl"]

    def test_every_storage_class(self) -> None:
        values = "1.5, 'äöü', x'00ff', 10.25, NULL, '0', '{}'"
        with transaction.atomic():
            raw(
                "INSERT INTO backend_reading (id, number, text, data, amount, at, uuid, extra)"
                f" VALUES (1, {values})"
            )
            raw("UPDATE backend_reading SET number = -0.0, data = NULL, text = 1")
            fails(lambda: raw(f"INSERT INTO backend_reading SELECT 1, {values}"), match="id")
            raw("DELETE FROM backend_reading")
            raw("INSERT INTO backend_reading (id) VALUES (1)")
            fails(lambda: raw(f"INSERT INTO backend_reading SELECT 1, {values}"), match="id")
        assert raw("SELECT id, number FROM backend_reading") == [(1, None)]

    def test_replaced_row(self) -> None:
        with transaction.atomic():
            create("ada")
            raw("REPLACE INTO backend_account (id, name, balance) VALUES (500, 'ada', 3)")
            fails(lambda: create("ada"))
        assert Account.objects.get().pk == 500

    def test_nothing_written_in_the_end(self) -> None:
        create("ada")
        with entries() as found, transaction.atomic():
            fails(lambda: create("ada"))
        assert not found

    def test_nothing_of_it_stays(self) -> None:
        with entries() as found, transaction.atomic():
            ada = create("ada")
            fails(lambda: create("ada"))
            ada.delete()
            create("bob")
        (block,) = [each for each in found if each.operations]
        assert kinds(block) == ["Insert", "Delete", "Insert"]
        assert not connection.connection.in_transaction
        assert connection.replication.capture.entries() == []
        with pytest.raises(IntegrityError):
            create("bob")

    def test_so_many_that_nobody_confirms_them(self) -> None:
        def block(count: int) -> None:
            with transaction.atomic():
                create("ada")
                for _ in range(count):
                    fails(lambda: create("ada"))

        with pytest.raises(TransactionConflict):
            block(failures.FAILURES_MAX + 1)
        block(failures.FAILURES_MAX)
        assert names() == ["ada"]


class TestForeignKeys(Refreshed):
    """Checked at once, with actions of their own: journal and database must not do things twice."""

    def setUp(self) -> None:
        super().setUp()
        raw("CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE)")
        raw(
            "CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER"
            " REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE,"
            " other INTEGER REFERENCES parent (id) ON DELETE SET NULL)"
        )
        raw("INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        raw("INSERT INTO child VALUES (10, 1, 2), (20, 2, 3), (30, 3, 1)")
        self.addCleanup(raw, "DROP TABLE parent")
        self.addCleanup(raw, "DROP TABLE child")

    def test_missing_parent(self) -> None:
        with transaction.atomic():
            raw("INSERT INTO parent VALUES (4, 'd')")
            raw("DELETE FROM parent WHERE id = 4")
            fails(lambda: raw("INSERT INTO child VALUES (40, 4, NULL)"), match="FOREIGN KEY")
            raw("INSERT INTO parent VALUES (4, 'd')")
        assert raw("SELECT count(*) FROM parent") == [(4,)]

    def test_cascades(self) -> None:
        with transaction.atomic():
            raw("DELETE FROM parent WHERE id = 1")
            raw("UPDATE parent SET id = 7 WHERE id = 2")
            fails(lambda: raw("INSERT INTO parent VALUES (9, 'c')"), match="code")
            fails(lambda: raw("INSERT INTO child VALUES (20, 3, 3)"), match="id")
        assert raw("SELECT * FROM child ORDER BY id") == [(20, 7, 3), (30, 3, None)]

    def test_deferred(self) -> None:
        """As the block had them when the statement failed."""
        with transaction.atomic():
            raw("PRAGMA defer_foreign_keys = ON")
            raw("INSERT INTO child VALUES (40, 4, NULL)")
            fails(
                lambda: many("INSERT INTO child VALUES (%s, %s, NULL)", (50, 5), (40, 5)),
                match="UNIQUE",
            )
            raw("INSERT INTO parent VALUES (4, 'd')")
        assert raw("SELECT parent FROM child WHERE id = 40") == [(4,)]

    def test_switched_off(self) -> None:
        connection.disable_constraint_checking()
        try:
            with transaction.atomic():
                raw("DELETE FROM parent WHERE id = 1")
                fails(lambda: raw("INSERT INTO child VALUES (10, 1, 2)"), match="UNIQUE")
                raw("INSERT INTO parent VALUES (1, 'a')")
        finally:
            connection.enable_constraint_checking()
        assert raw("SELECT count(*) FROM child") == [(3,)]


class TestSchema(Refreshed):
    """As in a migration that does more than one thing."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(raw, "DROP TABLE IF EXISTS fresh")

    def test_table_made_in_the_block(self) -> None:
        with transaction.atomic():
            raw("CREATE TABLE fresh (id INTEGER PRIMARY KEY, old TEXT, name TEXT UNIQUE)")
            raw("INSERT INTO fresh VALUES (1, 'x', 'ada')")
            fails(lambda: raw("INSERT INTO fresh VALUES (2, 'y', 'ada')"))
            raw("ALTER TABLE fresh DROP COLUMN old")
            raw("ALTER TABLE fresh ADD COLUMN more INTEGER DEFAULT 5")
            raw("UPDATE fresh SET more = 6")
            fails(lambda: raw("INSERT INTO fresh VALUES (3, 'ada', 7)"))
        assert raw("SELECT * FROM fresh") == [(1, "ada", 6)]
        with entries() as found:
            raw("UPDATE fresh SET more = abs(8)")
        assert kinds(*found) == ["Update"]

    def test_statement_that_travels_fails(self) -> None:
        with transaction.atomic():
            raw("CREATE TABLE fresh (id INTEGER PRIMARY KEY, name TEXT)")
            raw("INSERT INTO fresh VALUES (1, 'ada'), (2, 'ada')")
            fails(lambda: raw("CREATE UNIQUE INDEX fresh_name ON fresh (name)"))
        assert raw("SELECT count(*) FROM fresh") == [(2,)]

    def test_schema_changed_by_others(self) -> None:
        with (
            refreshing(lambda: raw("CREATE TABLE fresh (id INTEGER PRIMARY KEY)")),
            pytest.raises(TransactionConflict),
            transaction.atomic(),
        ):
            create("ada")
            fails(lambda: create("ada"))
