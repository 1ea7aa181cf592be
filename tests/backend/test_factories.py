"""`text_factory` and `row_factory` say what the application fetches, and never what is stored."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from django.db import NotSupportedError, connection, transaction
from django.test import TestCase, TransactionTestCase

from tests.backend.block_support import change_elsewhere, fails, refreshing
from tests.backend.helpers import elsewhere, raw
from tests.backend.models import Account, Tag

TEXTS = [bytes, bytearray, lambda text: text.decode("ascii", "ignore"), lambda text: 7]


def as_dictionary(cursor: Any, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


class OwnFactories:
    """Of one test: what Django does behind it takes tuples and texts for granted."""

    def tearDown(self) -> None:
        connection.connection.text_factory = str
        connection.connection.row_factory = None


def stored() -> Any:
    return elsewhere(lambda: raw("SELECT name, typeof(name), balance FROM backend_account"))


class TestStored(OwnFactories, TransactionTestCase):
    def write(self) -> None:
        with transaction.atomic():
            Account.objects.create(name="fünf")
            raw("UPDATE backend_account SET name = 'sechs ü', balance = 3")
            raw("INSERT INTO backend_tag VALUES ('ü')")
            raw("UPDATE backend_tag SET slug = 'ö' WHERE slug = 'ü'")
            fails(lambda: raw("INSERT INTO backend_tag VALUES ('ö')"))
        assert stored() == [("sechs ü", "text", 3)]
        assert elsewhere(lambda: raw("SELECT slug FROM backend_tag")) == [("ö",)]

    def test_texts(self) -> None:
        for factory in TEXTS:
            connection.close()
            connection.ensure_connection()
            connection.connection.text_factory = factory
            with refreshing(lambda: raw("DELETE FROM backend_booking")):
                self.write()
            with transaction.atomic():
                raw("CREATE TABLE made (id INTEGER PRIMARY KEY, name TEXT DEFAULT 'ü')")
                raw("INSERT INTO made (id) VALUES (1)")
            raw("UPDATE made SET id = 2")
            assert elsewhere(lambda: raw("SELECT * FROM made")) == [(2, "ü")]
            raw("DROP TABLE made")
            raw("DELETE FROM backend_account")
            raw("DELETE FROM backend_tag")

    def test_rows(self) -> None:
        connection.ensure_connection()
        for factory in (sqlite3.Row, as_dictionary):
            connection.connection.row_factory = factory
            self.write()
            raw("DELETE FROM backend_account")
            raw("DELETE FROM backend_tag")

    def test_texts_of_a_key_that_is_to_be_locked(self) -> None:
        """It comes as the application wants it, and nobody knows what it was."""
        Tag.objects.create(slug="ü")
        connection.connection.text_factory = lambda text: text.decode().upper()
        with transaction.atomic(), pytest.raises(NotSupportedError, match="text_factory"):
            list(Tag.objects.select_for_update())


class TestFetched(OwnFactories, TransactionTestCase):
    def setUp(self) -> None:
        Account.objects.create(name="ada", balance=1)

    def test_texts(self) -> None:
        connection.connection.text_factory = bytes
        assert raw("SELECT name FROM backend_account") == [(b"ada",)]
        cursor = connection.connection.cursor()
        assert cursor.execute("SELECT name FROM backend_account").fetchone() == (b"ada",)
        assert list(cursor.execute("SELECT name FROM backend_account")) == [(b"ada",)]
        with transaction.atomic(), connection.chunked_cursor() as chunked:
            chunked.execute("SELECT name FROM backend_account")
            assert chunked.fetchone() == (b"ada",)

    def test_rows(self) -> None:
        connection.connection.row_factory = sqlite3.Row
        query = "SELECT id, name FROM backend_account"
        assert raw(query)[0]["name"] == "ada"
        assert connection.connection.cursor().execute(query).fetchone()["name"] == "ada"
        with transaction.atomic(), connection.chunked_cursor() as cursor:
            cursor.execute(query)
            assert cursor.fetchmany(2)[0]["name"] == "ada"
            assert cursor.fetchone() is None

    def test_what_is_read_again(self) -> None:
        """The block goes on, since the rows that it had read are the same."""
        connection.connection.row_factory = sqlite3.Row
        connection.connection.text_factory = bytes
        with transaction.atomic():
            assert raw("SELECT name FROM backend_account")[0]["name"] == b"ada"
            elsewhere(lambda: Tag.objects.create(slug="another"))
            raw("INSERT INTO backend_tag VALUES ('mine')")
        assert elsewhere(Tag.objects.count) == 2

    def test_who_is_changed_is_seen_still(self) -> None:
        from raftdjango.exceptions import TransactionConflict

        connection.connection.row_factory = sqlite3.Row
        with pytest.raises(TransactionConflict), transaction.atomic():
            raw("SELECT balance FROM backend_account")
            change_elsewhere(balance=2)
            raw("INSERT INTO backend_tag VALUES ('mine')")


class TestNested(TestCase):
    def test_inside_a_test_case(self) -> None:
        connection.connection.text_factory = lambda text: text.decode("ascii", "ignore")
        connection.connection.row_factory = as_dictionary
        with transaction.atomic():
            Account.objects.create(name="fünf")
            raw("UPDATE backend_account SET name = 'sechs ü'")
        connection.connection.text_factory = str
        connection.connection.row_factory = None
        assert raw("SELECT name FROM backend_account") == [("sechs ü",)]
