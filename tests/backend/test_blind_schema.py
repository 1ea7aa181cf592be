"""Blind statements of a connection that has not looked at the schema since somebody changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection

from tests.backend.blind_models import Stamped
from tests.backend.helpers import elsewhere, entries, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def known() -> Iterator[Stamped]:
    """A row written by this connection, which so knows its table; that is put back at the end."""
    ((sql,),) = raw("SELECT sql FROM sqlite_master WHERE name = 'backend_stamped'")
    yield Stamped.objects.create(name="known")
    raw("DROP TABLE IF EXISTS backend_stranger")
    raw("DROP TABLE backend_stamped")
    raw(sql)


def remade_with(column: str) -> None:
    """Somebody else makes the table anew, with one more column."""
    ((sql,),) = raw("SELECT sql FROM sqlite_master WHERE name = 'backend_stamped'")

    def remake() -> None:
        raw("DROP TABLE backend_stamped")
        raw(f"{sql.rpartition(')')[0]}, {column})")

    elsewhere(remake)


def test_a_known_schema_is_not_looked_at_again(
    known: Stamped, proposed: list[list[str]], leased: Callable[..., None]
) -> None:
    leased(stamped=range(500, 510))
    statements: list[str] = []
    proposed.clear()
    connection.connection.set_trace_callback(statements.append)
    try:
        Stamped.objects.create(name="a")
        Stamped.objects.filter(pk=known.pk).update(name="b")
    finally:
        connection.connection.set_trace_callback(None)
    assert proposed == [["BlindInsert"], ["BlindUpdate"]]
    assert not statements


def test_another_tables_change_costs_one_more_round(
    known: Stamped, proposed: list[list[str]]
) -> None:
    elsewhere(lambda: raw("CREATE TABLE backend_stranger (id INTEGER PRIMARY KEY)"))
    proposed.clear()
    Stamped.objects.create(name="a")
    assert proposed == [["BlindInsert"], ["BlindInsert"]]
    Stamped.objects.filter(pk=known.pk).update(name="b")
    assert proposed[2:] == [["BlindUpdate"]]
    assert sorted(Stamped.objects.values_list("name", flat=True)) == ["a", "b"]


def test_an_update_meets_a_change_as_well(known: Stamped, proposed: list[list[str]]) -> None:
    elsewhere(lambda: raw("CREATE TABLE backend_stranger (id INTEGER PRIMARY KEY)"))
    proposed.clear()
    assert Stamped.objects.filter(pk=known.pk).update(name="b") == 1
    assert proposed == [["BlindUpdate"], ["BlindUpdate"]]


def test_an_update_names_the_table_as_it_is_now(known: Stamped) -> None:
    Stamped.objects.filter(pk=known.pk).update(name="b")
    remade_with("extra TEXT")
    Stamped.objects.create(pk=known.pk, name="a")
    elsewhere(lambda: raw("ALTER TABLE backend_stamped DROP COLUMN extra"))
    with entries() as found:
        assert Stamped.objects.filter(pk=known.pk).update(name="c") == 1
    tables = [operation.table.columns for each in found for operation in each.operations]
    assert [columns[-1] == "extra" for columns in tables] == [True, False]


def test_a_new_column_is_seen(known: Stamped, proposed: list[list[str]]) -> None:
    remade_with("extra TEXT DEFAULT 'x'")
    proposed.clear()
    made = Stamped.objects.create(name="a")
    assert proposed == [["BlindInsert"], ["BlindInsert"]]
    assert raw("SELECT extra FROM backend_stamped WHERE id = %s", [made.pk]) == [("x",)]


def test_a_default_that_is_constant_no_longer_is_seen(
    known: Stamped, proposed: list[list[str]]
) -> None:
    ((sql,),) = raw("SELECT sql FROM sqlite_master WHERE name = 'backend_stamped'")
    remade_with("extra TEXT DEFAULT 'x'")
    Stamped.objects.create(name="a")
    elsewhere(lambda: (raw("DROP TABLE backend_stamped"), raw(sql)))
    remade_with("extra TEXT DEFAULT CURRENT_TIMESTAMP")
    proposed.clear()
    made = Stamped.objects.create(name="b")
    assert proposed == [["BlindInsert"], ["Insert"]]
    assert raw("SELECT extra > '2' FROM backend_stamped WHERE id = %s", [made.pk]) == [(1,)]


def test_a_spec_is_never_older_than_the_version_that_goes_with_it(known: Stamped) -> None:
    replication = connection.replication
    before = replication.table("backend_stamped")
    replication.capture.schema_version = None
    elsewhere(lambda: raw("ALTER TABLE backend_stamped ADD COLUMN extra TEXT"))
    assert before is not None
    after = replication.table("backend_stamped")
    assert after is not None
    assert after.columns == (*before.columns, "extra")
    assert replication.capture.schema_version == replication.schema_version()
