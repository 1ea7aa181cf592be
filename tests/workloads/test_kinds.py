"""The judgements of the workloads on histories that are known to be good or bad."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.history import Operation, Outcome
from tests.workloads.kinds import WORKLOADS
from tests.workloads.kinds.bank import ACCOUNTS, BALANCE


def op(
    action: str,
    argument: Any,
    result: Any = None,
    *,
    at: tuple[float, float] = (0, 9),
    node: str = "n1",
    outcome: str = "ok",
    error: str = "",
) -> Operation:
    returned = None if outcome == "unknown" else at[1]
    return Operation(
        "p", node, "w", action, argument, at[0], returned, Outcome(outcome), result, error
    )


def failed(action: str, argument: Any, error: str = "TransactionConflict: ...", **more: Any):
    return op(action, argument, outcome="fail", error=error, **more)


def unknown(action: str, argument: Any, **more: Any) -> Operation:
    return op(action, argument, outcome="unknown", **more)


def balances(**changes: int) -> dict[str, int]:
    """`a1=-5`: account 1 has 5 less."""
    return {str(n): BALANCE + changes.get(f"a{n}", 0) for n in ACCOUNTS}


CREATED = [["x", "me"]]
BIRTHS = {"parents": [1], "children": [[1, 7]]}
BORN = [op("parent", 1), op("child", [1, 7])]

GOOD: list[tuple[str, list[Operation], Any]] = [
    ("register", [op("write", [1, 5], at=(0, 1)), op("read", [1, "validated"], 5, at=(2, 3))], None),
    ("register", [unknown("write", [1, 5]), op("read", [1, "linearizable"], 5, at=(2, 3))], None),
    ("register", [failed("compare", [1, None, 5]), op("read", [1, "validated"], None)], None),
    ("bank", [op("read at once", None, balances()), failed("transfer", ["read", 1, 2, 9])], balances()),
    ("bank", [op("transfer", ["read", 1, 2, 9])], balances(a1=-9, a2=9)),
    ("bank", [unknown("transfer", ["read", 1, 2, 9])], balances()),
    ("bank", [unknown("transfer", ["read", 1, 2, 9])], balances(a1=-9, a2=9)),
    ("append", [op("block", [["append", 1, 5]], [None]), op("block", [["read", 1]], [[5]])], {"1": [5]}),
    ("set", [op("create", [1]), failed("create", [2]), unknown("create", [3])], [1]),
    ("set", [op("bulk", [1, 2]), unknown("bulk", [3, 4])], [1, 2, 3, 4]),
    ("unique", [op("create", ["x", "me"], ["me", True])], CREATED),
    ("unique", [op("create", ["x", "me"], ["me", True]), op("get or create", ["x", "you"], ["me", False])], CREATED),
    ("unique", [unknown("create", ["x", "me"]), failed("create", ["x", "you"], "IntegrityError: ...")], []),
    ("parents", BORN, BIRTHS),
    ("parents", [*BORN, op("delete", 1, 2)], {"parents": [], "children": []}),
    ("parents", [*BORN, unknown("delete", 1)], {"parents": [], "children": []}),
    ("parents", [*BORN, op("delete", 1, 0, at=(0, 1))], BIRTHS),
    ("skew", [op("leave", [4, 0], [8, 9]), op("leave", [4, 1], [8, 9])], [[4, 8], [4, 9]]),
    ("skew-locked", [op("leave", [4, 0], [8, 9]), unknown("leave", [4, 1])], [[4, 8]]),
    ("skew-serializable", [op("leave", [4, 0], [8, 9]), failed("leave", [4, 1])], [[4, 8]]),
    ("counter", [op("add", 1, 1), op("read", 1, 1, at=(10, 11)), op("read", 1, 0, at=(10, 11), node="n2")], {"1": 1, "2": 0}),
    ("counter", [op("add", 1, 1, at=(0, 1)), op("read bounded", 1, 0, at=(1.1, 3), node="n2")], {"1": 1, "2": 0}),
    ("counter", [unknown("add", 1), op("read", 1, 0)], {"1": 1, "2": 0}),
    ("own-writes", [op("write", ["n1", "u", 1], 1), op("read", ["n2", "u"], 1)], None),
    ("own-writes", [op("write", ["n1", "u", 1], 1), op("read", ["n2", "v"], 0)], None),
    ("own-writes", [unknown("write", ["n1", "u", 1]), op("read", ["n2", "u"], 0)], None),
]  # fmt: skip

BAD: list[tuple[str, list[Operation], Any, str]] = [
    ("register", [op("write", [1, 5], at=(0, 1)), op("read", [1, "validated"], None, at=(2, 3))], None, "not linearizable"),
    ("register", [failed("write", [1, 5]), op("read", [1, "validated"], 5)], None, "not linearizable"),
    ("register", [op("compare", [1, None, 5], True), op("compare", [1, None, 6], True)], None, "not linearizable"),
    ("bank", [op("read one by one", None, balances(a1=-9))], balances(), "sum"),
    ("bank", [op("read at once", None, balances(a1=-150, a2=150))], balances(), "sum"),
    ("bank", [op("transfer", ["read", 1, 2, 9])], balances(), "no choice of transfers"),
    ("bank", [failed("transfer", ["read", 1, 2, 9])], balances(a1=-9, a2=9), "no choice of transfers"),
    ("bank", [unknown("transfer", ["read", 1, 2, 9])], balances(a1=-9), "no choice of transfers"),
    ("append", [op("block", [["read and append", 1, 5]], [[]]), op("block", [["read and append", 1, 6]], [[]])], {"1": [5, 6]}, "G-single"),
    ("append", [op("block", [["append", 1, 5]], [None])], {"1": []}, "lost"),
    ("append-serializable", [op("block", [["read", 1], ["append", 2, 5]], [[], None]), op("block", [["read", 2], ["append", 1, 6]], [[], None])], {"1": [6], "2": [5]}, "G2"),
    ("set", [op("create", [1])], [], "lost"),
    ("set", [op("create", [1])], [1, 1], "2 times"),
    ("set", [failed("create", [1])], [1], "failed, but there"),
    ("set", [unknown("bulk", [1, 2])], [1], "in part"),
    ("set", [op("create", [1], "resolved")], [], "lost"),
    ("set", [], [1], "nobody"),
    ("unique", [op("create", ["x", "me"], ["me", True]), op("create", ["x", "you"], ["you", True])], CREATED, "the owner is me"),
    ("unique", [op("create", ["x", "me"], ["me", True])], [], "the owner is None"),
    ("unique", [], [["x", "me"], ["x", "you"]], "belongs to 2"),
    ("unique", [op("create", ["x", "me"], ["me", True]), op("get or create", ["x", "you"], ["you", True])], CREATED, "the owner is me"),
    ("unique", [op("get or create", ["x", "me"], ["me", False])], CREATED, "the owner is me"),
    ("unique", [failed("create", ["x", "me"])], CREATED, "failed, but is the owner"),
    ("unique", [failed("create", ["x", "me"], "IntegrityError: ...")], [], "nobody else"),
    ("unique", [failed("create", ["x", "me"], "IntegrityError: ...", at=(0, 1)), op("create", ["x", "you"], ["you", True], at=(2, 3))], [["x", "you"]], "nobody else"),
    ("parents", BORN, {"parents": [], "children": [[1, 7]]}, "orphan"),
    ("parents", [op("look", 1, [7])], {"parents": [], "children": []}, "orphans in a view"),
    ("parents", BORN, {"parents": [1], "children": []}, "lost"),
    ("parents", BORN[:1], {"parents": [], "children": []}, "lost"),
    ("parents", [*BORN, op("delete", 1, 2)], BIRTHS, "deleted, but there"),
    ("parents", [*BORN, op("delete", 1, 2), op("delete", 1, 1)], {"parents": [], "children": []}, "deleted twice"),
    ("parents", [op("delete", 1, 1, at=(0, 1)), op("child", [1, 7], at=(2, 3))], {"parents": [], "children": []}, "born to what was deleted"),
    ("parents", [failed("child", [1, 7])], BIRTHS, "failed, but there"),
    ("skew", [op("leave", [4, 0], [8, 9])], [], "lost"),
    ("skew", [failed("leave", [4, 0])], [[4, 8]], "nobody was told"),
    ("skew-locked", [op("leave", [4, 0], [8, 9]), unknown("leave", [4, 1])], [[4, 8], [4, 9]], "nobody is left"),
    ("skew-serializable", [op("leave", [4, 0], [8, 9]), op("leave", [4, 1], [8, 9])], [[4, 8], [4, 9]], "nobody is left"),
    ("counter", [op("add", 1, 1)], {"1": 0, "2": 0}, "counter 1 is 0"),
    ("counter", [failed("add", 1)], {"1": 1, "2": 0}, "counter 1 is 1"),
    ("counter", [op("add", 1, 0)], {"1": 1, "2": 0}, "of no row"),
    ("counter", [op("add", 1, 1, at=(0, 1)), op("read", 1, 0, at=(2, 3))], {"1": 1, "2": 0}, "were acknowledged here"),
    ("counter", [op("add", 1, 1, node="n2"), op("read", 1, 1, at=(0, 1)), op("read", 1, 0, at=(2, 3))], {"1": 1, "2": 0}, "went back"),
    ("counter", [op("add", 1, 1, at=(0, 1)), op("read linearizable", 1, 0, at=(1.1, 3), node="n2")], {"1": 1, "2": 0}, "anywhere"),
    ("counter", [op("add", 1, 1, at=(0, 1)), op("read bounded", 1, 0, at=(2, 3), node="n2")], {"1": 1, "2": 0}, "anywhere"),
    ("counter", [op("add", 1, 1, at=(5, 6)), op("read", 1, 1, at=(2, 3))], {"1": 1, "2": 0}, "had begun"),
    ("own-writes", [op("write", ["n1", "u", 1], 1), op("read", ["n2", "u"], 0)], None, "had written 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "operations", "final"), GOOD)
def test_good_histories(name: str, operations: list[Operation], final: Any) -> None:
    assert WORKLOADS[name].judge(operations, final).violations == []


@pytest.mark.parametrize(("name", "operations", "final", "text"), BAD)
def test_bad_histories(name: str, operations: list[Operation], final: Any, text: str) -> None:
    found = WORKLOADS[name].judge(operations, final)
    assert any(text in violation for violation in found.violations), found


def test_every_workload_has_a_good_and_a_bad_history() -> None:
    assert {name for name, *_ in GOOD} == set(WORKLOADS) - {"append-serializable"}
    assert {name for name, *_ in BAD} == set(WORKLOADS)


def test_a_run_in_which_nothing_happened_is_told() -> None:
    finals: dict[str, Any] = {"bank": balances(), "counter": {"1": 0, "2": 0}, "append": {}}
    finals["append-serializable"] = {}
    finals["parents"] = {"parents": [], "children": []}
    for name, workload in WORKLOADS.items():
        found = workload.judge([], finals.get(name, []))
        assert found.violations == []
        assert found.missing, name


def test_skew_must_appear_without_serializable() -> None:
    found = WORKLOADS["skew"].judge([op("leave", [4, 0], [8, 9])], [[4, 8]])
    assert found.missing == ["write skew"]
