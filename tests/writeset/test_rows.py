"""Rows as bytes, and digests of rows and tables."""

from __future__ import annotations

import enum
import sqlite3
from contextlib import closing

import pytest
from django.utils.safestring import mark_safe

from raftdjango.writeset import MalformedCommand, pack_row, row_digest, storage_row, unpack_row
from raftdjango.writeset.digests import tables_digest, user_tables


class Number(enum.IntEnum):
    ONE = 1


def test_near_misses_become_storage_classes():
    row = (True, Number.ONE, mark_safe("x"), bytearray(b"a"), memoryview(b"b"), None)
    expected = (1, 1, "x", b"a", b"b", None)
    assert repr(unpack_row(pack_row(row))) == repr(expected)
    assert [type(value) for value in storage_row(row)] == [type(value) for value in expected]
    assert row_digest(row) == row_digest(expected)


def test_what_sqlite_cannot_store_is_refused():
    with pytest.raises(TypeError, match="dict is no SQLite storage class"):
        pack_row(({},))
    with pytest.raises(OverflowError):
        pack_row((2**63,))
    with pytest.raises(OverflowError):
        pack_row((-(2**63) - 1,))
    with pytest.raises(UnicodeEncodeError):
        pack_row(("\ud800",))


def test_storage_classes_have_digests_of_their_own():
    assert len({row_digest((value,)) for value in (1, 1.0, "1", b"1", None, "", b"", 0.0, 0)}) == 9
    assert row_digest(("a", "b")) != row_digest(("ab",))


def test_a_row_ends_where_its_bytes_end():
    with pytest.raises(MalformedCommand):
        unpack_row(pack_row((1,)) + b"\x00")
    with pytest.raises(MalformedCommand):
        unpack_row(pack_row((1, 2, 3)), 2)


def test_a_tables_digest_is_of_storage_values_in_the_order_of_the_key():
    with (
        closing(sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)) as one,
        closing(sqlite3.connect(":memory:")) as two,
    ):
        for connection in (one, two):
            connection.execute(
                'CREATE TABLE "T x" (a text, b date, c AS (a || b), PRIMARY KEY (b, a))'
            )
            connection.execute("CREATE TABLE raftdjango_x (a)")
        rows = [("x", "2026-01-01"), ("y", "2026-01-01"), (None, None), (None, None), ("z", 5)]
        one.executemany('INSERT INTO "T x" VALUES (?, ?)', rows)
        one.row_factory = sqlite3.Row
        two.executemany('INSERT INTO "T x" VALUES (?, ?)', rows[::-1])
        names = user_tables(one)
        assert names == ["T x"]
        digest = tables_digest(one, ["t X", "missing"])
        assert digest == tables_digest(two, ["missing", "T x"])
        assert digest != tables_digest(two, names)
        two.execute("UPDATE \"T x\" SET b = '5' WHERE a = 'z'")
        assert digest == tables_digest(two, ["T x", "missing"]), "the column's affinity made it 5"
        two.execute("UPDATE \"T x\" SET b = 6 WHERE a = 'z'")
        assert digest != tables_digest(two, ["T x", "missing"])
