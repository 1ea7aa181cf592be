"""What workers do on the application that evolves.  Arguments and results are JSON."""

from __future__ import annotations

import importlib
import io
import time
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.management import call_command
from django.db import connection, migrations, transaction
from django.db.models import F

from raftdjango.backends.sqlite3.transactions import migration_lock
from raftdjango.writeset import WriteSet, decode_command
from tests.cluster.evolving.models import Book
from tests.cluster.scripts import *  # noqa: F403

SLUG = "tests.cluster.evolving.migrations.0002_slug"
CONVERT = "tests.cluster.evolving.migrations.0005_convert"


def rows(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def prepare(count: int) -> None:
    """The tables of the writers, and rows of which only the first migration knows."""
    call_command("migrate", "project", run_syncdb=True, verbosity=0)
    migrate_to("zero")
    migrate_to("0001")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO evolving_book (name, price) VALUES (%s, %s)",
            [(f"book {n}", n / 4) for n in range(count)],
        )


def start_over(count: int) -> None:
    """`prepare`, whatever state the application is in."""
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for table in ("evolving_book_related", "evolving_book", "evolving_shelf"):
            cursor.execute(f"DROP TABLE IF EXISTS {table}")
        if "django_migrations" in tables:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'evolving'")
    prepare(count)


def touch_books_until(stop_file: str) -> dict[str, Any]:
    """Change rows of the very table that is being migrated, in whatever shape it has."""
    done, failed = 0, []
    while not Path(stop_file).exists():
        try:
            with connection.cursor() as cursor:
                # New values, in a column that every shape has.
                cursor.execute(
                    "UPDATE evolving_book SET id = -id WHERE abs(id) % 7 = %s", [done % 7]
                )
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}")
        done += 1
    return {"done": done, "failed": failed}


def books() -> list[Any]:
    """As the last migration has the table."""
    return [
        [abs(book.pk), book.title, book.cents, book.shelf.name, book.slug.startswith(book.title)]
        for book in Book.objects.select_related("shelf").order_by("title")
    ]


def migrate_to(target: str, *options: str) -> None:
    call_command("migrate", "evolving", target, *options, verbosity=0)


def migrate_and_fail() -> None:
    """Python code of a migration fails after its first writes."""

    def fail(apps: Any, editor: Any) -> None:
        apps.get_model("evolving", "Book").objects.update(slug="the same")
        raise ZeroDivisionError("in the middle")

    migration = importlib.import_module(SLUG).Migration
    operations = list(migration.operations)
    operations[1] = type(operations[1])(fail)
    with mock.patch.object(migration, "operations", operations):
        migrate_to("0002")


def migrate_and_hang(started_file: str) -> None:
    """Stop for good between the steps of the migration that is not atomic."""
    migration_lock.LEASE_MS = 2000
    module = importlib.import_module(CONVERT)

    def hang(apps: Any, editor: Any) -> None:
        book = apps.get_model("evolving", "Book")
        book.objects.filter(pk__lt=100).update(cents=F("price") * 100)
        Path(started_file).touch()
        time.sleep(3600)

    migration = module.Migration
    operations = list(migration.operations)
    operations[0] = type(operations[0])(hang)
    with mock.patch.object(migration, "operations", operations):
        migrate_to("0005")


def migrate_rows(started_file: str, go_on_file: str) -> None:
    """A migration that is in nobody's way: it inserts a row.  Half-way it waits for a file."""
    migration_lock.LEASE_MS = 1000
    module = importlib.import_module(SLUG)

    def insert(apps: Any, editor: Any) -> None:
        apps.get_model("evolving", "Book").objects.create(name="bonus", price=0)
        Path(started_file).touch()
        while not Path(go_on_file).exists():
            time.sleep(0.01)

    with (
        mock.patch.object(module.Migration, "operations", [migrations.RunPython(insert)]),
        # Else the other one had to wait for the end of a stopped process' turn.
        mock.patch("raftdjango.management.commands.migrate.longest_turn_s", lambda: 0.1),
    ):
        migrate_to("0002")


def fences_of(command: str, *arguments: str) -> list[bool]:
    """Run a command; of each write-set, whether it is void once somebody else has the migration lock."""
    found = []
    client = connection.replication.client
    propose = client.propose

    def noting(proposal_id: bytes, encoded: bytes, **how: Any) -> Any:
        body = decode_command(encoded).body
        if isinstance(body, WriteSet):
            found.append(bool(body.fence))
        return propose(proposal_id, encoded, **how)

    with mock.patch.object(client, "propose", noting):
        call_command(command, *arguments, verbosity=0)
    return found


def said(command: str, *arguments: str) -> str:
    """What a command prints."""
    stdout = io.StringIO()
    call_command(command, *arguments, stdout=stdout, no_color=True)
    return stdout.getvalue()


def execute_all(sql: str) -> None:
    """Statements as sqlflush and sqlsequencereset print them, in Django's transaction instead of theirs."""
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in sql.split(";\n"):
            if statement.strip() and statement.strip() not in {"BEGIN", "COMMIT"}:
                cursor.execute(statement)
