"""Foreign keys: checked at an entry's own end by look-ups, with SQLite itself as the oracle."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftdjango.writeset import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Insert,
    Table,
    Verdict,
    VerdictKind,
)
from tests.applier.replica import Replica, sql

DEFERRED = "DEFERRABLE INITIALLY DEFERRED"
SCHEMA = (
    "CREATE TABLE Parent (id integer PRIMARY KEY, code text UNIQUE COLLATE nocase, a int, b int,"
    " UNIQUE (a, b))",
    f"""CREATE TABLE child (
        id integer PRIMARY KEY,
        parent_id int REFERENCES parent {DEFERRED},
        code text REFERENCES PARENT (CODE) {DEFERRED},
        a int, b int,
        boss int REFERENCES child (id) {DEFERRED},
        FOREIGN KEY (b, a) REFERENCES parent (b, a) {DEFERRED})""",
)
PARENT = Table("Parent", ("id", "code", "a", "b"), (0,))
CHILD = Table("child", ("id", "parent_id", "code", "a", "b", "boss"), (0,))
VIOLATED = "FOREIGN KEY constraint failed"
APPLIED = Verdict(VerdictKind.APPLIED)


@pytest.fixture
def node(replica):
    made = replica(*SCHEMA)
    made.apply(Insert(PARENT, (1, "One", 1, 1)), Insert(PARENT, (2, "Two", 2, 2)))
    return made


@pytest.mark.parametrize(
    "row",
    [
        (1, 1, "ONE", 1, 1, 1),
        (1, None, None, None, None, None),
        (1, None, None, 9, None, None),
        (1, 2, "two", 2, 2, None),
    ],
    ids=["all, itself too", "nothing", "half of a composite key", "others"],
)
def test_a_row_whose_parents_are_there(node, row):
    assert node.apply(Insert(CHILD, row)) == APPLIED
    assert node.apply(BlindInsert(CHILD, (0, 1, 2, 3, 4, 5), (2, *row[1:]))).row_count == 1


@pytest.mark.parametrize(
    "row",
    [
        (1, 9, None, None, None, None),
        (1, None, "three", None, None, None),
        (1, None, None, 1, 2, None),
        (1, None, None, None, None, 9),
    ],
    ids=["primary key", "unique column", "composite", "itself"],
)
def test_a_row_whose_parent_is_not_there(node, row):
    captured = Verdict(VerdictKind.CONSTRAINT_CONFLICT, table="child", message=VIOLATED)
    blind = Verdict(VerdictKind.INTEGRITY_ERROR, table="child", message=VIOLATED)
    assert node.apply(Insert(CHILD, row)) == captured
    columns = tuple(n for n, value in enumerate(row) if value is not None)
    values = tuple(value for value in row if value is not None)
    assert node.apply(BlindInsert(CHILD, columns, values)) == blind
    assert node.select("SELECT * FROM child") == []


def test_order_within_an_entry_does_not_matter(node):
    child, parent = Insert(CHILD, (1, 5, None, None, None, None)), Insert(PARENT, (5, "5", 5, 5))
    assert node.apply(child, parent) == APPLIED
    assert node.apply(node.delete(PARENT, 5), node.delete(CHILD, 1)) == APPLIED


def test_a_parent_that_is_referred_to_stays(node):
    node.apply(Insert(CHILD, (1, 1, "one", 1, 1, None)))
    captured = node.delete(PARENT, 1)
    assert node.apply(captured).kind == VerdictKind.CONSTRAINT_CONFLICT
    assert node.apply(BlindDelete(PARENT, ((1,),))).kind == VerdictKind.INTEGRITY_ERROR
    for changes in (((0, 9),), ((1, "other"),), ((2, 7),)):
        verdict = node.apply(BlindUpdate(PARENT, ((1,),), changes))
        assert verdict.kind == VerdictKind.INTEGRITY_ERROR, changes
    assert node.apply(BlindUpdate(PARENT, ((1,),), ((1, "oNe"),))).row_count == 1, "same to nocase"
    assert node.apply(BlindDelete(PARENT, ((2,),))).row_count == 1


def test_a_child_inserted_meanwhile_is_found(node):
    """The transaction deleted a parent that had no children when it read."""
    deletion = node.delete(PARENT, 1)
    assert node.apply(Insert(CHILD, (1, 1, None, None, None, None))) == APPLIED
    assert node.apply(deletion).kind == VerdictKind.CONSTRAINT_CONFLICT


def test_an_update_checks_only_what_it_changes(node):
    """As SQLite: an orphan from a time without foreign keys may be changed elsewhere."""
    orphan = Insert(CHILD, (1, 77, None, None, None, None))
    assert node.apply(orphan, foreign_keys_off=True) == APPLIED
    assert node.apply(BlindUpdate(CHILD, ((1,),), ((3, 1),))).row_count == 1
    assert node.apply(BlindUpdate(CHILD, ((1,),), ((1, 78),))).kind == VerdictKind.INTEGRITY_ERROR
    assert node.apply(BlindUpdate(CHILD, ((1,),), ((1, 1),))).row_count == 1


def test_with_foreign_keys_off_nothing_is_checked(node):
    assert node.apply(node.delete(PARENT, 1), foreign_keys_off=True) == APPLIED
    assert node.apply(Insert(CHILD, (1, 1, None, None, None, None))).kind != VerdictKind.APPLIED


def test_generated_columns_take_part(replica):
    node = replica(
        "CREATE TABLE p (id integer PRIMARY KEY, half int, k AS (half * 2) STORED UNIQUE)",
        f"CREATE TABLE c (id integer PRIMARY KEY, n int, r AS (n + 1) REFERENCES p (k) {DEFERRED})",
    )
    parent, child = Table("p", ("id", "half"), (0,)), Table("c", ("id", "n"), (0,))
    node.apply(Insert(parent, (1, 3)))
    assert node.apply(Insert(child, (1, 5))) == APPLIED
    assert node.apply(Insert(child, (2, 6))).kind == VerdictKind.CONSTRAINT_CONFLICT
    assert node.apply(BlindInsert(child, (1,), (6,))).kind == VerdictKind.INTEGRITY_ERROR
    assert node.apply(node.update(child, 1, n=4)).kind == VerdictKind.CONSTRAINT_CONFLICT
    assert node.apply(BlindUpdate(parent, ((1,),), ((1, 4),))).kind == VerdictKind.INTEGRITY_ERROR
    assert node.apply(node.delete(parent, 1)).kind == VerdictKind.CONSTRAINT_CONFLICT
    assert node.apply(node.update(child, 1, n=5), node.update(parent, 1, half=3)) == APPLIED


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("REFERENCES nowhere", "no such table: main.nowhere"),
        ("REFERENCES t (v)", 'foreign key mismatch - "broken" referencing "t"'),
        ("REFERENCES t (no)", 'foreign key mismatch - "broken" referencing "t"'),
    ],
)
def test_a_broken_foreign_key_is_told_in_sqlites_words(replica, schema, message):
    node = replica(
        "CREATE TABLE t (id integer PRIMARY KEY, v)",
        f"CREATE TABLE broken (id PRIMARY KEY {schema})",
    )
    verdict = node.apply(BlindInsert(Table("broken", ("id",), (0,)), (0,), (1,)))
    assert (verdict.kind, verdict.message) == (VerdictKind.OPERATIONAL_ERROR, message)
    node.connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.OperationalError, match=message.replace("(", r"\(")):
        node.connection.execute("INSERT INTO broken VALUES (1)")


def test_what_is_known_of_foreign_keys_follows_the_schema(node):
    assert node.apply(Insert(CHILD, (1, 1, None, None, None, None))) == APPLIED
    node.apply(sql("CREATE TABLE late (id integer PRIMARY KEY, r int REFERENCES parent (id))"))
    late = Table("late", ("id", "r"), (0,))
    assert node.apply(Insert(late, (1, 9))).kind == VerdictKind.CONSTRAINT_CONFLICT
    assert node.apply(Insert(late, (1, 2))) == APPLIED
    assert node.apply(BlindDelete(PARENT, ((2,),))).kind == VerdictKind.INTEGRITY_ERROR
    node.apply(sql("DROP TABLE late"))
    assert node.apply(BlindDelete(PARENT, ((2,),))).row_count == 1


# SQLite as the oracle ---------------------------------------------------------------------------

small = st.integers(1, 3)
maybe = st.none() | small
code = st.sampled_from([None, "one", "ONE", "two", "three"])
steps = st.one_of(
    st.tuples(
        st.just("INSERT OR IGNORE INTO Parent VALUES (?, ?, ?, ?)"), small, code, maybe, maybe
    ),
    st.tuples(
        st.just("INSERT OR IGNORE INTO child VALUES (?, ?, ?, ?, ?, ?)"),
        *(small, maybe, code, maybe, maybe, maybe),
    ),
    st.tuples(st.just("DELETE FROM Parent WHERE id = ?"), small),
    st.tuples(st.just("DELETE FROM child WHERE id = ?"), small),
    st.tuples(st.just("UPDATE OR IGNORE Parent SET id = ? WHERE id = ?"), small, small),
    st.tuples(st.just("UPDATE OR IGNORE Parent SET code = ? WHERE id = ?"), code, small),
    st.tuples(
        st.just("UPDATE OR IGNORE Parent SET a = ?, b = ? WHERE id = ?"), maybe, maybe, small
    ),
    st.tuples(st.just("UPDATE OR IGNORE child SET id = ? WHERE id = ?"), small, small),
    st.tuples(st.just("UPDATE child SET parent_id = ? WHERE id = ?"), maybe, small),
    st.tuples(st.just("UPDATE child SET boss = ? WHERE id = ?"), maybe, small),
    st.tuples(st.just("UPDATE child SET a = ? WHERE id = ?"), maybe, small),
)


def _captured(node: Replica, step: tuple[object, ...]) -> list[object]:
    """What capture would journal for a step: the rows before and after it, compared."""
    tables = (PARENT, CHILD)
    before = {table: {row[0]: row for row in _rows(node, table)} for table in tables}
    node.connection.execute(str(step[0]), step[1:])
    operations = []
    for table in tables:
        after = {row[0]: row for row in _rows(node, table)}
        gone = [before[table][key] for key in before[table] if after.get(key) != before[table][key]]
        come = [after[key] for key in after if before[table].get(key) != after[key]]
        operations.append((table, gone, come))
    return operations


def _rows(node: Replica, table: Table) -> list[tuple[object, ...]]:
    return node.select(f'SELECT * FROM "{table.name}"')


def _as_operations(node: Replica, transaction: list[tuple[object, ...]]) -> list[object]:
    """The transaction as captured operations, made on the node's own snapshot and rolled back."""
    from raftdjango.writeset import Delete, Update, row_digest

    operations: list[object] = []
    node.connection.execute("PRAGMA foreign_keys = OFF")
    node.connection.execute("BEGIN")
    for step in transaction:
        for table, gone, come in _captured(node, step):  # type: ignore[misc]
            if len(gone) == len(come) == 1:
                (old,), (new,) = gone, come
                changes = tuple((n, v) for n, v in enumerate(new) if v != old[n])
                operations.append(Update(table, (old[0],), row_digest(old), changes))
                continue
            operations += [Delete(table, (row[0],), row_digest(row)) for row in gone]
            operations += [Insert(table, row) for row in come]
    node.connection.execute("ROLLBACK")
    return operations


@settings(max_examples=150)
@given(st.lists(st.lists(steps, min_size=1, max_size=4), min_size=3, max_size=12))
def test_the_look_ups_agree_with_sqlites_own_check_at_commit(transactions):
    node = Replica(*SCHEMA)
    # Foreign keys of this connection stay as the applier wants them, also after the capture.
    oracle = sqlite3.connect(":memory:", isolation_level=None)
    oracle.execute("PRAGMA foreign_keys = ON")
    for statement in SCHEMA:
        oracle.execute(statement)
    try:
        for transaction in transactions:
            operations = _as_operations(node, transaction)
            oracle.execute("BEGIN")
            for step in transaction:
                oracle.execute(str(step[0]), step[1:])
            try:
                oracle.execute("COMMIT")
                expected = VerdictKind.APPLIED
            except sqlite3.IntegrityError:
                oracle.execute("ROLLBACK")
                expected = VerdictKind.CONSTRAINT_CONFLICT
            if operations:
                assert node.apply(*operations).kind == expected, transaction  # type: ignore[arg-type]
            for table in (PARENT, CHILD):
                query = f'SELECT * FROM "{table.name}" ORDER BY id'
                assert node.select(query) == oracle.execute(query).fetchall()
    finally:
        node.connection.close()
        oracle.close()


# Actions, for blind operations ------------------------------------------------------------------

ACTIONS = ("NO ACTION", "CASCADE", "SET NULL", "SET DEFAULT")
blind_steps = st.one_of(
    st.tuples(st.just("insert"), st.sampled_from("abc"), small, maybe),
    st.tuples(st.just("delete"), st.sampled_from("abc"), small, st.none()),
    st.tuples(st.just("rekey"), st.sampled_from("abc"), small, small),
    st.tuples(st.just("refer"), st.sampled_from("abc"), small, maybe),
)


def _blind(step: tuple[str, str, int, int | None]) -> tuple[object, str, tuple[object, ...]]:
    """A step as a blind operation, and as SQL for the oracle."""
    verb, name, key, value = step
    table = Table(name, ("id", "r"), (0,))
    if verb == "insert":
        operation: object = BlindInsert(table, (0, 1), (key, value))
        return operation, f"INSERT INTO {name} (id, r) VALUES (?, ?)", (key, value)
    if verb == "delete":
        return BlindDelete(table, ((key,),)), f"DELETE FROM {name} WHERE id = ?", (key,)
    column = 0 if verb == "rekey" else 1
    operation = BlindUpdate(table, ((key,),), ((column, value),))
    return operation, f"UPDATE {name} SET {table.columns[column]} = ? WHERE id = ?", (value, key)


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from(ACTIONS), min_size=6, max_size=6),
    st.lists(blind_steps, min_size=4, max_size=25),
)
def test_actions_do_what_sqlites_own_do(actions, blind):
    def table(name: str, parent: str, on_delete: str, on_update: str) -> str:
        return (
            f"CREATE TABLE {name} (id integer PRIMARY KEY, r int DEFAULT 2"
            f" REFERENCES {parent} (id) ON DELETE {on_delete} ON UPDATE {on_update} {DEFERRED})"
        )

    schema = (
        table("a", "a", *actions[0:2]),
        table("b", "a", *actions[2:4]),
        table("c", "b", *actions[4:6]),
    )
    node = Replica(*schema)
    oracle = sqlite3.connect(":memory:", isolation_level=None)
    oracle.execute("PRAGMA foreign_keys = ON")
    for statement in schema:
        oracle.execute(statement)
    try:
        for step in blind:
            operation, text, parameters = _blind(step)
            try:
                count = oracle.execute(text, parameters).rowcount
            except sqlite3.IntegrityError:
                assert node.apply(operation).kind == VerdictKind.INTEGRITY_ERROR, step
            else:
                verdict = node.apply(operation)
                assert (verdict.kind, verdict.row_count) == (VerdictKind.APPLIED, count), step
            for name in "abc":
                query = f"SELECT * FROM {name} ORDER BY id"
                assert node.select(query) == oracle.execute(query).fetchall(), step
    finally:
        node.connection.close()
        oracle.close()


@pytest.mark.parametrize(
    ("on_delete", "keys", "refused"),
    [
        ("RESTRICT", (2, 1), True),  # 1 is deleted first, whatever the order of the keys
        ("RESTRICT", (1, 2), True),
        ("RESTRICT", (2, 3), False),
        ("RESTRICT", (4,), False),
        ("NO ACTION", (2, 1), False),
    ],
)
def test_restrict_does_not_wait_for_the_rest_of_the_rows(replica, on_delete, keys, refused):
    """2 refers to 1, and 4 to itself; there is no 3."""
    schema = f"CREATE TABLE a (id integer PRIMARY KEY, r int REFERENCES a ON DELETE {on_delete})"
    table = Table("a", ("id", "r"), (0,))
    rows = "INSERT INTO a VALUES (1, NULL), (2, 1), (4, 4)"
    node, oracle = replica(schema), sqlite3.connect(":memory:", isolation_level=None)
    oracle.execute("PRAGMA foreign_keys = ON")
    for statement in (schema, rows):
        oracle.execute(statement)
    assert node.apply(*(Insert(table, row) for row in ((1, None), (2, 1), (4, 4))))
    verdict = node.apply(BlindDelete(table, tuple((key,) for key in keys)))
    try:
        oracle.execute(f"DELETE FROM a WHERE id IN ({', '.join(map(str, keys))})")
        assert verdict.kind == VerdictKind.APPLIED
    except sqlite3.IntegrityError as error:
        assert (verdict.kind, verdict.message) == (VerdictKind.INTEGRITY_ERROR, str(error))
    assert (verdict.kind == VerdictKind.INTEGRITY_ERROR) is refused
    assert node.select("SELECT * FROM a") == oracle.execute("SELECT * FROM a").fetchall()
    oracle.close()


def test_a_long_chain_of_cascades(replica):
    node = replica(
        f"CREATE TABLE t (id integer PRIMARY KEY, r int REFERENCES t ON DELETE CASCADE {DEFERRED})"
    )
    chain = Table("t", ("id", "r"), (0,))
    node.apply(*(Insert(chain, (n, n - 1 or None)) for n in range(1, 3001)))
    assert node.apply(BlindDelete(chain, ((2,),))).row_count == 1
    assert node.select("SELECT * FROM t") == [(1, None)]


def test_cascades_that_come_back_to_where_they_began(replica):
    node = replica(
        f"CREATE TABLE t (id integer PRIMARY KEY, r int REFERENCES t ON DELETE CASCADE {DEFERRED})"
    )
    ring = Table("t", ("id", "r"), (0,))
    node.apply(*(Insert(ring, row) for row in ((1, 3), (2, 1), (3, 2), (4, 4), (5, None))))
    assert node.apply(BlindDelete(ring, ((2,),))).row_count == 1
    assert node.apply(BlindDelete(ring, ((4,),))).row_count == 1
    assert node.select("SELECT * FROM t") == [(5, None)]
