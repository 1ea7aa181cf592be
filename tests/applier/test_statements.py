"""Statements: the same on every node, and unable to leave their entry."""

from __future__ import annotations

import pytest

from raftdjango.writeset import BlindInsert, Insert, Pins, Table, Verdict, VerdictKind
from tests.applier.replica import PINS, sql

T = Table("t", ("id", "v"), (0,))
SCHEMA = "CREATE TABLE t (id integer PRIMARY KEY AUTOINCREMENT, v)"


@pytest.fixture
def node(replica):
    return replica(SCHEMA)


def test_two_nodes_compute_the_same(replica):
    statements = [
        "CREATE TABLE t (id integer PRIMARY KEY, a DEFAULT CURRENT_TIMESTAMP,"
        " b DEFAULT (datetime('now', '+1 day')), c DEFAULT (hex(randomblob(8))))",
        "CREATE TABLE s (id integer PRIMARY KEY)",
        "INSERT INTO s WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 50)"
        " SELECT i FROM n ORDER BY random()",
        "INSERT INTO t (id) SELECT id FROM s",
        "UPDATE t SET c = random() || RAND() || strftime('%s') || julianday('now') WHERE id > 25",
        "CREATE TABLE copied AS SELECT *, random() AS r FROM t ORDER BY r",
    ]
    first, second = replica(), replica()
    for node in (first, second):
        for text in statements:
            assert node.apply(sql(text)).kind == VerdictKind.APPLIED, text
    assert first.dump() == second.dump()
    assert first.select("SELECT a, b FROM t LIMIT 1") == [
        ("2026-02-03 04:05:06", "2026-02-04 04:05:06")
    ]
    assert len(first.select("SELECT DISTINCT r FROM copied")) == 50, "not one number for all rows"


def test_two_nodes_come_to_the_same_statistics(replica):
    first, second = replica(SCHEMA), replica(SCHEMA)
    for node in (first, second):
        node.apply(sql("CREATE INDEX i ON t (v)"))
        node.apply(*(Insert(T, (n, n % 3)) for n in range(30)))
        for text in ("ANALYZE", "REINDEX"):
            assert node.apply(sql(text)).kind == VerdictKind.APPLIED, text
    stat = "SELECT * FROM sqlite_stat1 ORDER BY tbl, idx"
    assert ("t", "i", "30 10") in first.select(stat)
    assert first.select(stat) == second.select(stat)


def test_other_pins_give_other_values(node):
    node.apply(sql("INSERT INTO t (v) VALUES (random())", pins=Pins(b"a", PINS.now)))
    node.apply(sql("INSERT INTO t (v) VALUES (random())", pins=Pins(b"b", PINS.now)))
    ((one,), (other,)) = node.select("SELECT v FROM t")
    assert one != other


def test_a_table_is_not_rebuilt_as_it_was_before_somebody_else_changed_it(node):
    """A process that migrates may sleep, lose its lock, and wake: the column's data would be gone."""
    rebuilt = [
        sql("CREATE TABLE new__t (id integer PRIMARY KEY AUTOINCREMENT, v UNIQUE)"),
        sql("INSERT INTO new__t (id, v) SELECT id, v FROM t"),
        sql("DROP TABLE t"),
        sql("ALTER TABLE new__t RENAME TO t"),
    ]
    before = node.applier.state.schema_version
    node.apply(sql("ALTER TABLE t ADD COLUMN later DEFAULT 7"))
    node.apply(sql("INSERT INTO t (v) VALUES ('a')"))
    assert node.apply(*rebuilt, schema_version=before).message == "schema"
    assert node.select("SELECT v, later FROM t") == [("a", 7)]
    assert node.apply(*rebuilt).kind == VerdictKind.APPLIED


def test_one_statement_alone_is_for_any_schema(node):
    before = node.applier.state.schema_version
    node.apply(sql("ALTER TABLE t ADD COLUMN later"))
    assert node.apply(sql("CREATE INDEX i ON t (v)"), schema_version=before).kind == (
        VerdictKind.APPLIED
    )


def test_rows_and_statements_in_one_entry_stay_in_order(node):
    verdict = node.apply(
        sql("ALTER TABLE t ADD COLUMN w DEFAULT 5"),
        Insert(Table("t", ("id", "v", "w"), (0,)), (1, "a", 6)),
        sql("UPDATE t SET v = v || w WHERE id = ?", 1),
        sql("ALTER TABLE t RENAME TO u"),
        Insert(Table("u", ("id", "v", "w"), (0,)), (2, "b", 7)),
    )
    assert verdict.kind == VerdictKind.APPLIED
    assert node.select("SELECT * FROM u ORDER BY id") == [(1, "a6", 6), (2, "b", 7)]


def test_the_schema_version_is_the_index_of_the_entry(node):
    before = node.applier.state
    assert before.schema_version == before.applied_index == 1
    node.apply(Insert(T, (1, 0)))
    assert node.applier.state.schema_version == 1
    node.apply(sql("CREATE INDEX i ON t (v)"))
    assert node.applier.state.schema_version == 3
    node.apply(sql("CREATE INDEX i ON t (v)"))
    assert node.applier.state.schema_version == 3, "a statement that failed changed nothing"


@pytest.mark.parametrize(
    ("text", "parameters", "kind", "message"),
    [
        ("CREATE TABLE t (x)", (), "OPERATIONAL_ERROR", "table t already exists"),
        ("UPDATE missing SET x = 1", (), "OPERATIONAL_ERROR", "no such table: missing"),
        ("nonsense", (), "OPERATIONAL_ERROR", 'near "nonsense": syntax error'),
        ("INSERT INTO t VALUES (1, 1)", (), "INTEGRITY_ERROR", "UNIQUE constraint failed: t.id"),
        ("SELECT abs(?)", (-(2**63),), "OPERATIONAL_ERROR", "integer overflow"),
        ("SELECT ?", (), "OPERATIONAL_ERROR", "the statement or its parameters are not acceptable"),
        ("SELECT 1; SELECT 2", (), "OPERATIONAL_ERROR", "the statement or its parameters are not"),
        ("SELECT zeroblob(2000000000)", (), "OPERATIONAL_ERROR", "string or blob too big"),
    ],
)
def test_an_error_that_every_node_meets_is_a_verdict(node, text, parameters, kind, message):
    node.apply(Insert(T, (1, 0)))
    verdict = node.apply(Insert(T, (2, 0)), sql(text, *parameters))
    assert verdict.kind.name == kind
    assert verdict.message.startswith(message)
    assert node.select("SELECT id FROM t") == [(1,)]


@pytest.mark.parametrize(
    "text",
    [
        "COMMIT",
        "END",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT x",
        "RELEASE raftdjango_entry",
        "ROLLBACK TO raftdjango_entry",
        "ATTACH ':memory:' AS other",
        "CREATE TEMP TABLE t (x)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA user_version = 7",
        "DELETE FROM raftdjango_outcome",
        "UPDATE RaftDjango_State SET applied_index = 0",
        "DROP TABLE raftdjango_key",
        "ALTER TABLE raftdjango_key ADD COLUMN x",
        "ALTER TABLE t RENAME TO raftdjango_t",
        "CREATE TABLE raftdjango_new (x)",
        "CREATE INDEX i ON raftdjango_key (next_key)",
        "CREATE TRIGGER x AFTER INSERT ON raftdjango_outcome BEGIN SELECT 1; END",
        "INSERT INTO t (v) VALUES (last_insert_rowid())",
        "INSERT INTO t (v) VALUES (sqlite_version())",
    ],
)
def test_a_statement_cannot_leave_its_entry(node, text):
    before = node.dump()
    verdict = node.apply(Insert(T, (1, 0)), sql(text))
    assert verdict.kind == VerdictKind.OPERATIONAL_ERROR
    after = node.dump()
    assert {k: v for k, v in after.items() if "state" not in k and "outcome" not in k} == {
        k: v for k, v in before.items() if "state" not in k and "outcome" not in k
    }
    assert node.applier.state.applied_index == 2
    assert node.apply(Insert(T, (1, 0))).kind == VerdictKind.APPLIED


def test_local_time_is_refused(node):
    for text in ("datetime('now', 'localtime')", "strftime('%s', 'now', 'UTC')"):
        verdict = node.apply(sql(f"INSERT INTO t (v) VALUES ({text})"))
        assert verdict.kind == VerdictKind.OPERATIONAL_ERROR


def test_a_statement_that_rolls_everything_back_is_recorded_none_the_less(node):
    node.apply(Insert(T, (1, 0)))
    command = node.command(
        sql("DELETE FROM t"), sql("INSERT OR ROLLBACK INTO t VALUES (1, 1), (1, 1)")
    )
    verdict = node.submit(command)
    assert verdict.kind == VerdictKind.INTEGRITY_ERROR
    assert node.submit(command) == verdict
    assert node.select("SELECT * FROM t") == [(1, 0)]


def test_a_foreign_key_that_statements_leave_to_the_commit(replica):
    node = replica(SCHEMA, "CREATE TABLE c (r int REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)")
    broken = node.command(Insert(T, (1, 0)), sql("INSERT INTO c VALUES (9)"))
    expected = Verdict(VerdictKind.INTEGRITY_ERROR, message="FOREIGN KEY constraint failed")
    assert node.submit(broken) == expected
    assert node.submit(broken) == expected
    assert node.select("SELECT count(*) FROM t, c") == [(0,)]
    assert node.apply(sql("INSERT INTO c VALUES (9)"), foreign_keys_off=True).row_count == 1
    assert node.apply(Insert(T, (2, 0))).kind == VerdictKind.APPLIED


def test_django_functions_are_there(node):
    text = "INSERT INTO t (v) VALUES (MD5('x') || django_date_trunc('month', '2026-05-06', NULL, NULL))"
    assert node.apply(sql(text)).kind == VerdictKind.APPLIED
    assert node.select("SELECT v FROM t") == [("9dd4e461268c8034f5c8564e155c67a62026-05-01",)]


def test_functions_in_the_schema_still_work_for_rows(replica):
    """The replaced ones compute what SQLite's own do, as long as nothing asks for the time."""
    node = replica(
        "CREATE TABLE d (id integer PRIMARY KEY, at text CHECK (date(at) IS NOT NULL),"
        " day AS (date(at, '-1 day')) STORED, stamp AS (strftime('%Y', at)))",
        "CREATE INDEX d_day ON d (date(at))",
    )
    dates = Table("d", ("id", "at"), (0,))
    verdict = node.apply(BlindInsert(dates, (1,), ("2026-03-01 10:00",), (0,), ("day", "stamp")))
    assert verdict.rows == ((1, "2026-02-28", "2026"),)
    assert node.apply(Insert(dates, (2, "no date"))).message == (
        "CHECK constraint failed: date(at) IS NOT NULL"
    )
