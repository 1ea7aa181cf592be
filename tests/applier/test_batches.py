"""Where a batch begins and ends must not show: not in a verdict, not in a row."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from raftdjango.applier import Applier, LogEntry, tables_digest, user_tables
from raftdjango.writeset import (
    Barrier,
    BindIncarnation,
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Command,
    Delete,
    FormCluster,
    Insert,
    KeyLease,
    MigrationLock,
    Pins,
    Reads,
    Table,
    Update,
    ValidatedRead,
    VerdictKind,
    WriteSet,
    encode_command,
    row_digest,
)
from tests.applier.replica import PINS, Replica, sql

if TYPE_CHECKING:
    from raftdjango.applier import Applied

DEFERRED = "DEFERRABLE INITIALLY DEFERRED"
SCHEMA = (
    "CREATE TABLE p (id integer PRIMARY KEY AUTOINCREMENT, name text UNIQUE)",
    f"CREATE TABLE c (id integer PRIMARY KEY, p int NOT NULL REFERENCES p (id) {DEFERRED})",
)
ROWS = ("INSERT INTO p VALUES (1, 'a'), (2, 'b'), (3, 'x')", "INSERT INTO c VALUES (1, 1), (2, 2)")
P, C = Table("p", ("id", "name"), (0,)), Table("c", ("id", "p"), (0,))

keys = st.integers(1, 4)
names = st.sampled_from("abc")
rows = st.one_of(
    st.tuples(st.just("insert"), st.sampled_from("pc"), keys, keys, names),
    st.tuples(st.just("update"), st.sampled_from("pc"), keys, keys, names),
    st.tuples(st.just("delete"), st.sampled_from("pc"), keys, keys, names),
    st.tuples(st.just("read"), st.sampled_from("pc"), keys, keys, names),
    st.tuples(st.just("blind insert"), st.sampled_from("pc"), keys, keys, names),
    st.tuples(st.just("blind insert without a key"), st.just("p"), keys, keys, names),
    st.tuples(st.just("blind update"), st.sampled_from("pc"), keys, keys, names),
    st.tuples(st.just("blind delete"), st.sampled_from("pc"), keys, keys, names),
)
statements = st.sampled_from(
    [
        "CREATE TABLE extra (x)",
        "DROP TABLE extra",
        "INSERT INTO p (name) SELECT hex(randomblob(3))",
        "INSERT INTO p (name) VALUES (CURRENT_TIMESTAMP || random())",
        "INSERT INTO c (id, p) VALUES (4, 99)",
        "INSERT INTO p (name) VALUES ('a')",
        "INSERT OR ROLLBACK INTO p (name) VALUES ('a')",
        "DELETE FROM sqlite_sequence",
        "DELETE FROM p",
        "CREATE INDEX IF NOT EXISTS p_name ON p (name, id)",
        "nonsense",
        "COMMIT",
        "DELETE FROM raftdjango_outcome",
    ]
)
queries = st.sampled_from(
    [
        ("SELECT COUNT(*) FROM p", (), ("p",)),
        ("SELECT id, name FROM p WHERE name = ?", ("a",), ("p",)),
        ("SELECT p FROM c WHERE p IN (?, 2) ORDER BY p", (1,), ("c",)),
        ("SELECT 1 FROM c LIMIT 1", (), ("c",)),
        ("SELECT none FROM p", (), ("p",)),
    ]
)
serializable = st.tuples(
    st.integers(0, 5),
    st.lists(st.sampled_from(["p", "P", "c", "", "none"]), max_size=1),
    st.lists(st.tuples(queries, st.sampled_from(["now"] * 3 + ["stale"])), max_size=2),
)
transactions = st.tuples(
    st.just("rows"),
    st.lists(rows, min_size=1, max_size=4),
    st.sampled_from(["now", "now", "now", "stale"]),
    st.sampled_from([0, 0, 0, 1]),
    st.none() | serializable,
)
migrations = st.tuples(
    st.just("statements"), st.lists(statements | rows, min_size=1, max_size=3), st.booleans()
)
others = st.one_of(
    st.builds(KeyLease, st.sampled_from(["p", "c", "none"]), st.integers(1, 20)),
    st.just(Barrier()),
    st.builds(FormCluster, st.sampled_from([b"x", b"y"]), st.just("g"), st.just((("n1", "u1"),))),
    st.builds(BindIncarnation, st.sampled_from(["n1", "n2"]), st.sampled_from([b"i", b"j"])),
    st.builds(MigrationLock, st.sampled_from([b"h", b"k"]), st.integers(0, 3000), st.booleans()),
)
bodies = st.one_of(*[transactions] * 6, migrations, others, st.none())
envelopes = st.tuples(
    bodies,
    st.sampled_from(["new"] * 7 + ["again"]),
    st.sampled_from(["fresh"] * 12 + ["late"]),
    st.sampled_from([1, 1, 1, 5000, 200_000]),
)


def _operation(node: Replica, step: tuple[str, str, int, int, str], stale: bool) -> object:
    verb, name, key, other, text = step
    table = P if name == "p" else C
    value = text if name == "p" else other
    found = node.row(table, key) if user_tables(node.connection) else ()
    before = row_digest((*found, "stale") if stale else found) if found else b""
    if verb == "insert":
        return Insert(table, (key, value))
    if verb == "blind insert":
        return BlindInsert(table, (0, 1), (key, value), (0,))
    if verb == "blind insert without a key":
        return BlindInsert(table, (1,), (value,), (0, 1))
    if verb == "blind update":
        return BlindUpdate(table, ((key,), (other,)), ((1, value),))
    if verb == "blind delete":
        return BlindDelete(table, ((key,), (other,)), expected_rows=None if other % 2 else 1)
    if verb == "update":
        return Update(table, (key,), before or row_digest(()), ((1, value),))
    if verb == "delete":
        return Delete(table, (key,), before or row_digest(()))
    return ValidatedRead(table, (key,), before)


def _body(node: Replica, what: object) -> object:
    if not isinstance(what, tuple):
        return what
    version = node.applier.state.schema_version
    if what[0] == "rows":
        stale = what[2] == "stale"
        operations = tuple(_operation(node, step, stale) for step in what[1])
        return WriteSet(version - what[3], operations, reads=_reads(node, what[4]))
    operations = tuple(
        sql(step, pins=Pins(step.encode(), PINS.now))
        if isinstance(step, str)
        else _operation(node, step, stale=False)
        for step in what[1]
    )
    return WriteSet(version, operations, foreign_keys_off=what[2])


def _reads(node: Replica, what: tuple[int, list[str], list[Any]] | None) -> Reads | None:
    """Of a transaction that saw all but the last few entries."""
    if what is None:
        return None
    lag, names, asked = what
    return Reads(
        max(0, node.applier.state.applied_index - lag),
        tuple(names),
        tuple(node.query(*query, stale=when == "stale") for query, when in asked),
    )


def _play(node: Replica, plan: list[tuple[object, ...]]) -> tuple[list[LogEntry], list[Applied]]:
    """Make the log as workers would, one entry after the other, and apply it one by one."""
    log: list[LogEntry] = []
    done: list[Applied] = []
    last = b""
    for number, (what, identity, freshness, pause_ms) in enumerate(plan):
        node.time_ms += pause_ms
        command: bytes | None = None
        if what is not None:
            proposal_id = last if identity == "again" and last else b"%08d" % number
            last = proposal_id
            expires_at_ms = node.time_ms + (1000 if freshness == "fresh" else -1)
            body = _body(node, what)
            command = encode_command(Command(proposal_id, expires_at_ms, body))  # type: ignore[arg-type]
        log += node.entries([command])
        done += node.applier.apply_batch(log[-1:])
    return log, done


def _replay(
    node: Replica, log: list[LogEntry], borders: list[int], *, at_once: bool = False
) -> list[Applied]:
    done: list[Applied] = []
    edges = [0, *sorted({border for border in borders if border < len(log)}), len(log)]
    for start, end in itertools.pairwise(edges):
        batch = log[start:end]
        applied = node.applier.apply_at_once(batch) if at_once else None
        done += node.applier.apply_batch(batch) if applied is None else applied
        # As after a restart: nothing that an applier remembers may matter.
        if end % 2:
            node.applier = Applier(node.connection)
            node.applier.prepare()
    return done


@settings(max_examples=150)
@given(
    st.lists(envelopes, min_size=5, max_size=30),
    st.lists(st.integers(1, 30), max_size=6),
)
def test_one_log_with_different_batch_borders(plan, borders):
    _compare(plan, borders)


competitors = st.tuples(
    st.just("rows"),
    st.lists(rows, min_size=1, max_size=2),
    st.just("now"),
    st.just(0),
    serializable,
)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(competitors, st.just("new"), st.just("fresh"), st.just(1)),
        min_size=8,
        max_size=25,
    ),
    st.lists(st.integers(1, 25), max_size=6),
)
def test_serializable_transactions_with_different_batch_borders(plan, borders):
    _compare(plan, borders)


def _compare(plan: list[tuple[object, ...]], borders: list[int]) -> None:
    first, second, third, fourth = (Replica(*SCHEMA, *ROWS) for _ in range(4))
    try:
        log, expected = _play(first, plan)
        assert _replay(second, log, borders) == expected
        assert third.applier.apply_batch(log) == expected
        assert _replay(fourth, log, [*range(len(log))], at_once=True) == expected
        assert second.dump() == first.dump()
        assert third.dump() == first.dump()
        assert fourth.dump() == first.dump()
        names = [*user_tables(first.connection), "raftdjango_outcome", "raftdjango_state"]
        digest = tables_digest(first.connection, names)
        assert tables_digest(third.connection, names) == digest
        assert not first.select("PRAGMA integrity_check")[1:]
    finally:
        for node in (first, second, third, fourth):
            node.connection.close()


def test_a_refused_entry_leaves_the_others_of_its_batch(replica):
    node = replica(*SCHEMA)
    bad = [
        node.command(Insert(P, (2, "x")), Insert(P, (3, "x"))),
        node.command(Insert(C, (1, 99))),
        node.command(Update(P, (9,), row_digest(()), ((1, "y"),))),
        node.command(Insert(P, (4, "y")), schema_version=99),
    ]
    good = [node.command(Insert(P, (n, f"n{n}"))) for n in (10, 11, 12, 13, 14)]
    mixed = [entry for pair in zip(good, bad, strict=False) for entry in pair] + good[-1:]
    kinds = [applied.verdict.kind for applied in node.batch(mixed)]
    assert kinds[::2] == [VerdictKind.APPLIED] * 5
    assert VerdictKind.APPLIED not in kinds[1::2]
    assert node.select("SELECT id FROM p ORDER BY id") == [(10,), (11,), (12,), (13,), (14,)]


def test_a_batch_is_one_commit_and_an_entry_with_statements_has_its_own(replica, tmp_path):
    node = replica(*SCHEMA, path=tmp_path / "db.sqlite3")
    commits = []
    node.connection.set_trace_callback(
        lambda text: commits.append(text) if text in {"COMMIT", "ROLLBACK"} else None
    )
    insert = [node.command(Insert(P, (n, f"n{n}"))) for n in range(3)]
    node.batch(insert)
    assert commits == ["COMMIT"]
    node.batch([node.command(sql("CREATE TABLE x (a)")), None, node.wrap(Barrier()), None])
    assert commits == ["COMMIT"] * 3


def test_a_proposal_that_comes_twice_is_applied_once(replica):
    node = replica(*SCHEMA)
    once = node.command(BlindInsert(P, (1,), ("a",), (0, 1)))
    first, second = node.batch([once, once])
    third = node.submit(once)
    assert first.verdict == second.verdict == third
    assert third.rows == ((1, "a"),)
    assert node.select("SELECT count(*) FROM p") == [(1,)]
    refused = node.command(BlindInsert(P, (1,), ("a",)))
    assert node.submit(refused).kind == VerdictKind.INTEGRITY_ERROR
    node.apply(BlindDelete(P, ((1,),)))
    assert node.submit(refused).kind == VerdictKind.INTEGRITY_ERROR, "a verdict is final"


def test_an_expired_proposal_writes_nothing_and_is_not_remembered(replica):
    node = replica(*SCHEMA)
    write_set = WriteSet(node.applier.state.schema_version, (BlindInsert(P, (1,), ("a",)),))
    late = node.wrap(write_set, expires_at_ms=node.time_ms - 1)
    assert node.submit(late).kind == VerdictKind.EXPIRED
    assert node.select("SELECT * FROM p") == []
    in_time = node.wrap(write_set, expires_at_ms=node.time_ms)
    assert node.submit(in_time).kind == VerdictKind.APPLIED
    assert node.submit(in_time).kind == VerdictKind.APPLIED, "expired now, but it was applied"
    assert len(node.select("SELECT * FROM raftdjango_outcome")) == 2, "schema and one insert"
