"""What a statement draws from the machine is drawn from its pins instead, or refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdjango.writeset import Pins
from raftdjango.writeset.pinning import Pinning, unpinnable

PINS = Pins(b"seed", "2026-02-03 04:05:06.789")
NOW = "2026-02-03 04:05:06"


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        yield made


def ask(connection: sqlite3.Connection, expression: str) -> object:
    return connection.execute(f"SELECT {expression}").fetchone()[0]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CURRENT_TIMESTAMP", NOW),
        ("current_date", "2026-02-03"),
        ("CURRENT_TIME", "04:05:06"),
        ("datetime('now')", NOW),
        ("datetime('NOW', '+1 hour')", "2026-02-03 05:05:06"),
        ("datetime()", NOW),
        ("date()", "2026-02-03"),
        ("time('now', 'start of day')", "00:00:00"),
        ("strftime('%f')", "06.789"),
        ("strftime('%Y', 'now', '-1 year')", "2025"),
        ("round(julianday('now'), 4)", 2461074.6702),
        ("unixepoch('now')", 1770091506),
        ("datetime('2020-01-01', '+1 day')", "2020-01-02 00:00:00"),
        ("datetime(NULL)", None),
        ("date('nonsense')", None),
        ("date(0)", "-4713-11-24"),
        ("date(x'6e6f77')", "2026-02-03"),
        ("datetime('now' || char(0) || 'x')", NOW),
        ("date('now ')", None),
    ],
)
def test_time_is_what_the_pins_say(connection, expression, value):
    pinning = Pinning(connection)
    with pinning.pinned(PINS):
        assert ask(connection, expression) == value


@pytest.mark.parametrize(
    "expression",
    ["random()", "hex(randomblob(100))", "hex(randomblob(0))", "hex(randomblob(NULL))", "RAND()"],
)
def test_chance_is_what_the_pins_say(connection, expression):
    pinning = Pinning(connection)
    with pinning.pinned(PINS):
        first = ask(connection, expression)
    with pinning.pinned(PINS):
        assert ask(connection, expression) == first
        assert ask(connection, expression) != first
    with pinning.pinned(Pins(b"other", PINS.now)):
        assert ask(connection, expression) != first


def test_the_stream_of_chance_never_changes(connection):
    """Nodes of different versions must draw the same."""
    with Pinning(connection).pinned(PINS):
        drawn = [ask(connection, text) for text in ("random()", "hex(randomblob(70))", "RAND()")]
    assert drawn == [
        -8349044526331012556,
        "02C119403F6B26C1E354C463799C616BCC83FE484509C047B1F83500F0E905A7C34DF590C3CEE1D10E1EA51CA9456068B49A312D33EC29190D22EE840014EDA5317D530F851A",
        0.8933223846301406,
    ]


def test_defaults_and_copies_are_pinned_too(connection):
    connection.execute(
        "CREATE TABLE d (x, a DEFAULT CURRENT_TIMESTAMP, b DEFAULT (date('now')), c DEFAULT (random()))"
    )
    with Pinning(connection).pinned(PINS):
        connection.execute("INSERT INTO d (x) SELECT value FROM json_each('[1, 2]')")
    (first, second) = connection.execute("SELECT a, b, c FROM d").fetchall()
    assert first[:2] == second[:2] == (NOW, "2026-02-03")
    assert first[2] != second[2]


def test_outside_of_pins_the_functions_are_as_sqlites_own(connection):
    pinning = Pinning(connection)
    with pinning.pinned(PINS):
        ask(connection, "random()")
    with closing(sqlite3.connect(":memory:")) as plain:
        for text in ("date('now', '+3 days')", "CURRENT_DATE", "date('2026-01-01', 'localtime')"):
            assert ask(connection, text) == ask(plain, text)
    assert len(str(ask(connection, "hex(randomblob(8))"))) == 16
    assert ask(connection, "random()") != ask(connection, "random()")
    assert 0 <= ask(connection, "RAND()") < 1  # type: ignore[operator]


@pytest.mark.parametrize(
    "expression",
    [
        "random()",
        "randomblob(3)",
        "RAND()",
        "CURRENT_TIME",
        "date()",
        "time('now')",
        "strftime('%s')",
        "datetime('2026-01-01', 'localtime')",
    ],
)
def test_the_applier_refuses_outside_of_pins(connection, expression):
    Pinning(connection, outside="refused")
    with pytest.raises(sqlite3.OperationalError):
        ask(connection, expression)
    assert ask(connection, "date('2026-01-01', '+1 day')") == "2026-01-02"


def test_the_time_zone_of_the_machine_is_refused_in_a_statement(connection):
    with Pinning(connection).pinned(PINS), pytest.raises(sqlite3.OperationalError):
        ask(connection, "datetime('now', 'LocalTime')")


# What cannot be pinned --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT load_extension('x')", "load_extension()"),
        ("INSERT INTO t SELECT Last_Insert_RowId ( )", "last_insert_rowid()"),
        ('INSERT INTO t VALUES ("changes"())', "changes()"),
        ("UPDATE t SET v = total_changes /* ; */ ()", "total_changes()"),
        ("UPDATE t SET v = sqlite_version()", "sqlite_version()"),
        ("INSERT INTO t SELECT file FROM pragma_database_list", "pragma_database_list"),
        ("INSERT INTO t SELECT * FROM [pragma_page_count]()", "pragma_page_count"),
        ("INSERT INTO t SELECT pgno FROM dbstat", "dbstat"),
        ("UPDATE t SET v = datetime('now', 'localtime')", "'localtime'"),
        ("UPDATE t SET v = time(v, ' UTC')", "' UTC'"),
    ],
)
def test_what_cannot_be_pinned_is_named(sql, reason):
    assert reason in str(unpinnable(sql))


@pytest.mark.parametrize(
    "sql",
    [
        'CREATE TABLE t (changes int, "last_insert_rowid" int, at DEFAULT CURRENT_TIMESTAMP)',
        "INSERT INTO t VALUES ('last_insert_rowid()', 'localtime', 'it''s changes()')",
        "INSERT INTO new__t SELECT id, random(), datetime('now') FROM t -- changes()",
        "/* total_changes() */ UPDATE t SET v = hex(randomblob(16))",
        "CREATE TABLE zone (name DEFAULT 'utc')",
        "UPDATE t SET v = 'unfinished",
        "",
    ],
)
def test_what_can_be_pinned_passes(sql):
    assert unpinnable(sql) is None


@given(st.text(max_size=80))
def test_any_text_can_be_judged(text):
    unpinnable(text)
    assert unpinnable(f"SELECT changes() -- {text}") is not None
