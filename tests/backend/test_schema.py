"""Schema changes: statements, and the rows of `RunPython`, in one ordered entry per migration."""

from __future__ import annotations

from unittest import mock

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, migrations, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState
from django.test import TransactionTestCase
from django.test.utils import isolate_apps

from raftdjango.exceptions import NotReplicable, TransactionConflict
from raftdjango.writeset import Insert, Statement
from tests.backend.helpers import elsewhere, entries, far_key, kinds, raw
from tests.backend.models import Account


class Made(migrations.Migration):
    operations = [
        migrations.CreateModel(
            "Thing",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=9)),
            ],
        ),
        migrations.RunPython(
            lambda apps, editor: [
                apps.get_model("backend", "Thing").objects.create(name=name) for name in ("a", "b")
            ],
            migrations.RunPython.noop,
        ),
        migrations.AddField("Thing", "size", models.IntegerField(default=3)),
        migrations.RunPython(
            lambda apps, editor: (
                apps.get_model("backend", "Thing").objects.filter(name="b").update(size=4)
            ),
            migrations.RunPython.noop,
        ),
        migrations.RunSQL("INSERT INTO backend_thing (name, size) VALUES ('c', 5)", ""),
    ]


def migrate(migration_class: type[migrations.Migration], *, backwards: bool = False) -> None:
    """As `migrate` applies one migration."""
    migration = migration_class("0001_made", "backend")
    executor = MigrationExecutor(connection)
    if backwards:
        executor.unapply_migration(ProjectState(), migration)
    else:
        executor.apply_migration(ProjectState(), migration)


class TestMigration(TransactionTestCase):
    def tearDown(self) -> None:
        raw("DROP TABLE IF EXISTS backend_thing")
        raw("DELETE FROM django_migrations WHERE app = 'backend'")
        super().tearDown()

    def things(self) -> list[tuple[object, ...]]:
        return elsewhere(lambda: raw("SELECT name, size FROM backend_thing ORDER BY id"))

    def test_statements_and_rows_in_one_entry(self) -> None:
        with entries() as found:
            migrate(Made)
        assert self.things() == [("a", 3), ("b", 4), ("c", 5)]
        migration = found[0]
        names = kinds(migration)
        assert names[0] == "Statement"
        first_row = names.index("Insert")
        assert names[first_row : first_row + 2] == ["Insert", "Insert"]
        assert "Statement" in names[first_row:]
        assert names[-1] == "Insert"
        assert "Update" in names
        assert migration.foreign_keys_off

    def test_keys_of_its_own_tables_are_asked_of_nobody(self) -> None:
        """Who else could know the table?  Waiting for a lease would cost the block its turn."""
        client = type(connection.replication.client)
        with mock.patch.object(client, "lease_keys", side_effect=AssertionError):
            connection.replication.allocator.reset()
            migrate(Made)
        assert len(self.things()) == 3

    def test_rows_copied_by_the_schema_editor_travel_as_its_statement(self) -> None:
        with entries() as found:
            migrate(Made)
        statements = [each.sql for each in found[0].operations if isinstance(each, Statement)]
        assert any(sql.startswith('INSERT INTO "new__backend_thing"') for sql in statements)
        inserts = [each for each in found[0].operations if isinstance(each, Insert)]
        names = [each.table.name for each in inserts]
        assert names == ["backend_thing"] * 3 + ["django_migrations"]

    def test_failing_in_the_middle_leaves_nothing(self) -> None:
        class Fails(Made):
            operations = [*Made.operations, migrations.RunPython(lambda apps, editor: 1 / 0)]

        with entries() as found, pytest.raises(ZeroDivisionError):
            migrate(Fails)
        assert not found
        assert raw("SELECT name FROM sqlite_master WHERE name = 'backend_thing'") == []
        migrate(Made)
        assert len(self.things()) == 3

    def test_not_atomic_is_one_entry_per_statement(self) -> None:
        class Loose(migrations.Migration):
            atomic = False
            operations = [
                migrations.RunSQL(
                    "CREATE TABLE backend_thing (id INTEGER PRIMARY KEY, name, size)"
                ),
                migrations.RunSQL("INSERT INTO backend_thing VALUES (1, 'a', 1)"),
            ]

        with entries() as found:
            migrate(Loose)
        assert [kinds(each) for each in found[:2]] == [["Statement"], ["Insert"]]

    def test_broken_foreign_keys_are_found_before_proposing(self) -> None:
        class Breaks(migrations.Migration):
            operations = [
                *Made.operations[:1],
                migrations.RunSQL("INSERT INTO backend_booking VALUES (1, 1, '', 404)"),
            ]

        with entries() as found, pytest.raises(IntegrityError):
            migrate(Breaks)
        assert not found
        self.assert_as_before()

    def assert_as_before(self) -> None:
        """Neither is a block left open, nor are foreign keys left off."""
        assert not connection.in_atomic_block
        assert raw("PRAGMA foreign_keys") == [(1,)]
        elsewhere(lambda: Account.objects.create(name="not locked out"))

    def test_lost_at_commit(self) -> None:
        client = connection.replication.client
        propose = client.propose

        def late(*args: object, **kwargs: object) -> object:
            client.propose = propose
            elsewhere(lambda: raw("CREATE TABLE another (id INTEGER PRIMARY KEY)"))
            return propose(*args, **kwargs)

        client.propose = late
        with pytest.raises(TransactionConflict):
            migrate(Made)
        raw("DROP TABLE another")
        self.assert_as_before()

    def test_the_schema_version_is_the_entrys_index(self) -> None:
        migrate(Made)
        raw("CREATE TABLE another (id INTEGER PRIMARY KEY)")
        version, index = raw("SELECT schema_version, applied_index FROM raftdjango_state")[0]
        assert version == index
        Account.objects.create(name="ada")
        assert raw("SELECT schema_version FROM raftdjango_state") == [(version,)]
        raw("DROP TABLE another")

    def test_a_block_on_an_older_schema_is_lost(self) -> None:
        client = connection.replication.client
        propose = client.propose

        def late(*args: object, **kwargs: object) -> object:
            client.propose = propose
            elsewhere(lambda: raw("CREATE TABLE another (id INTEGER PRIMARY KEY)"))
            return propose(*args, **kwargs)

        with pytest.raises(TransactionConflict, match="schema"), transaction.atomic():
            Account.objects.create(name="ada")
            Account.objects.create(name="bob")
            client.propose = late
        raw("DROP TABLE another")
        assert not Account.objects.exists()

    def test_a_statement_on_an_older_schema_runs_again(self) -> None:
        client = connection.replication.client
        propose = client.propose
        Account.objects.create(name="ada")

        def late(*args: object, **kwargs: object) -> object:
            client.propose = propose
            elsewhere(lambda: raw("CREATE TABLE another (id INTEGER PRIMARY KEY)"))
            return propose(*args, **kwargs)

        for write in (
            lambda: Account.objects.update(balance=models.F("balance") + 1),
            lambda: Account.objects.create(name="bob"),
        ):
            client.propose = late
            write()
            raw("DROP TABLE another")
        assert Account.objects.count() == 2


class TestStatements(TransactionTestCase):
    def test_time_and_chance_are_pinned(self) -> None:
        raw("CREATE TABLE drawn (id INTEGER PRIMARY KEY, a DEFAULT 0)")
        raw("INSERT INTO drawn (id) VALUES (1), (2)")
        sql = "CREATE TABLE copied (id INTEGER PRIMARY KEY, a, b, c)"
        copying = "INSERT INTO copied SELECT id, random(), CURRENT_TIMESTAMP, hex(randomblob(8)) FROM drawn"
        with transaction.atomic():
            raw(sql)
            with connection.replication.as_statements():
                raw(copying)
            # What follows in the same entry sees what the applier will see.
            rows = raw("SELECT * FROM copied ORDER BY id")
            raw("UPDATE copied SET a = a / 2 WHERE id = 1")
        assert elsewhere(lambda: raw("SELECT * FROM copied WHERE id = 2")) == [rows[1]]
        assert rows[0][1] != rows[1][1]
        for name in ("copied", "drawn"):
            raw(f"DROP TABLE {name}")

    def test_what_cannot_be_pinned_is_refused(self) -> None:
        with entries() as found, pytest.raises(NotReplicable, match="sqlite_version"):
            raw("CREATE TABLE versions AS SELECT 1 AS id, sqlite_version() AS v")
        assert not found

    def test_flush_travels_as_statements(self) -> None:
        *_, last = Account.objects.bulk_create([Account(name=str(n)) for n in range(50)])
        with entries() as found:
            call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
        assert set(kinds(found[0])) == {"Statement"}
        assert not elsewhere(Account.objects.exists)
        assert Account.objects.create(name="first").pk == last.pk + 1

    def test_flush_resets_sequences(self) -> None:
        Account.objects.create(pk=500, name="x")
        call_command("flush", verbosity=0, interactive=False)
        assert Account.objects.create(name="first").pk == 1

    def test_sequences_in_raw_sql(self) -> None:
        Account.objects.create(name="x")
        key = far_key()
        raw("UPDATE sqlite_sequence SET seq = %s WHERE name = 'backend_account'", [key])
        assert Account.objects.create(name="y").pk == key + 1

    def test_statistics_and_indexes_are_made_anew_on_every_node(self) -> None:
        """As statements, for what ANALYZE writes is part of the file that is to be equal everywhere."""
        Account.objects.create(name="a")
        self.addCleanup(raw, "DROP TABLE IF EXISTS sqlite_stat1")
        for sql in ("ANALYZE", "ANALYZE backend_account", "REINDEX", "REINDEX backend_account"):
            with entries() as found:
                raw(sql)
            assert [kinds(each) for each in found] == [["Statement"]], sql
        analyzed = {table for (table,) in raw("SELECT tbl FROM sqlite_stat1")}
        assert {"backend_account", "raftdjango_state"} <= analyzed

    def test_schema_changed_and_used_in_one_block(self) -> None:
        with transaction.atomic():
            Account.objects.create(name="before")
            raw("CREATE TABLE fresh (id INTEGER PRIMARY KEY, a)")
            raw("INSERT INTO fresh VALUES (1, 1)")
            raw("ALTER TABLE fresh ADD COLUMN b DEFAULT 7")
            raw("INSERT INTO fresh VALUES (2, 2, 2)")
            raw("ALTER TABLE fresh RENAME TO newer")
            raw("UPDATE newer SET a = 5 WHERE id = 1")
            savepoint = connection.savepoint()
            raw("DROP TABLE newer")
            transaction.savepoint_rollback(savepoint)
            raw("DELETE FROM newer WHERE id = 2")
            Account.objects.create(name="after")
        assert elsewhere(lambda: raw("SELECT * FROM newer")) == [(1, 5, 7)]
        assert Account.objects.count() == 2
        raw("DROP TABLE newer")


class TestQuotedName(TransactionTestCase):
    """Django takes `db_table` as it is where it is quoted already; nobody else knows it by that name."""

    @isolate_apps("tests.backend")
    def test_keys_are_leased_for_the_table_that_it_means(self) -> None:
        class Quoted(models.Model):
            name = models.CharField(max_length=9)

            class Meta:
                app_label = "backend"
                db_table = '"backend_Quoted"'

        with connection.schema_editor() as editor:
            editor.create_model(Quoted)
        client = type(connection.replication.client)
        lease_keys = client.lease_keys
        asked = set()

        def lease(self: object, table: str, count: int, **behind: int) -> range:
            asked.add(table)
            return lease_keys(self, table, count, **behind)

        try:
            with mock.patch.object(client, "lease_keys", lease):
                Quoted.objects.create(name="blind")
                with transaction.atomic():
                    Quoted.objects.create(name="in a block")
                    Quoted.objects.create(name="another")
            assert asked == {"backend_Quoted"}
            assert elsewhere(lambda: Quoted.objects.count()) == 3
        finally:
            raw('DROP TABLE "backend_Quoted"')
