"""That the run on the cluster would notice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.django_suite.live.equality import NotEqual, Replicas
from tests.django_suite.live.outcomes import FAILED, PASSED, SKIPPED, Outcomes, differences
from tests.django_suite.live.run import judge

REASON = "a reason"


def told(outcome: str | None, reason: str = "", **entries: int) -> Outcomes:
    tests = {} if outcome is None else {"a.test": outcome}
    return Outcomes(tests, {"a.test": reason}, entries or {"tests": 1}, declared=[REASON])


@pytest.mark.parametrize(
    ("stock", "live", "equal"),
    [
        (told(PASSED), told(PASSED), True),
        (told(FAILED), told(FAILED), True),
        (told(FAILED), told(PASSED), True),
        (told(SKIPPED), told(PASSED), True),
        (told(PASSED), told(SKIPPED, REASON), True),
        (told(PASSED), told(SKIPPED, "another"), False),
        (told(PASSED), told(None), False),
        (told(PASSED), told(FAILED), False),
        (told(SKIPPED), told(FAILED), False),
        (told(None), told(FAILED), False),
    ],
)
def test_what_counts_as_equal(stock: Outcomes, live: Outcomes, equal: bool) -> None:
    assert (not list(differences(stock, live))) == equal


def test_the_worst_of_a_test_with_subtests_counts() -> None:
    class Test:
        def id(self) -> str:
            return "a.test"

    outcomes = Outcomes()
    outcomes.note(Test(), FAILED, "a subtest")
    outcomes.note(Test(), PASSED)
    assert outcomes.tests == {"a.test": FAILED}


def test_a_label_without_entries_is_refused() -> None:
    (problem,) = judge(told(PASSED), told(PASSED, flushes=9), moved=20)
    assert "Nothing that the tests wrote" in problem


def test_entries_that_are_in_no_log_are_refused() -> None:
    (problem,) = judge(told(PASSED), told(PASSED, tests=5, flushes=4), moved=8)
    assert "9 entries" in problem
    assert not list(judge(told(PASSED), told(PASSED, tests=5, flushes=4), moved=9))


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """The same database three times."""
    paths = [str(tmp_path / f"{name}.sqlite3") for name in ("n1", "n2", "n3")]
    for path in paths:
        change(path, "CREATE TABLE raftdjango_state (applied_index); CREATE TABLE t (a);")
        change(path, "INSERT INTO raftdjango_state VALUES (7); INSERT INTO t VALUES (1), (1), (2);")
    return paths


def change(path: str, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()


def test_equal_databases(paths: list[str]) -> None:
    replicas = Replicas(paths)
    assert replicas.compare() == 4
    assert replicas.index() == 7
    replicas.close()


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE t SET a = 3 WHERE a = 2", "t differs"),
        ("UPDATE t SET a = '2' WHERE a = 2", "t differs"),
        ("UPDATE t SET a = 2.0 WHERE a = 2", "t differs"),
        ("DELETE FROM t WHERE rowid = 1", "t differs"),
        ("INSERT INTO t VALUES (NULL)", "t differs"),
        ("CREATE INDEX i ON t (a)", "schema differs"),
        ("UPDATE raftdjango_state SET applied_index = 6", "have applied up to"),
    ],
)
@pytest.mark.parametrize("node", [0, 1, 2])
def test_a_node_that_differs_is_noticed(paths: list[str], node: int, sql: str, named: str) -> None:
    change(paths[node], sql)
    replicas = Replicas(paths)
    with pytest.raises(NotEqual, match=named):
        replicas.compare(patience_s=0)
    replicas.close()
