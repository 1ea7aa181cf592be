"""The dependency-cycle checker on histories that are known to be good or bad."""

from __future__ import annotations

import random

import pytest

from tests.workloads.anomalies import find_anomalies, violations
from tests.workloads.dependencies import Append, Read, Transaction
from tests.workloads.history import Outcome


def transaction(name: str, text: str, outcome: str = "ok", session: str = "", **times: float):
    """`ax1 rx12`: append 1 to x, read x and see 1, 2.  In another session each, if none is given."""
    steps = [
        Append(part[1], int(part[2:]))
        if part[0] == "a"
        else Read(part[1], tuple(map(int, part[2:])))
        for part in text.split()
    ]
    return Transaction(name, tuple(steps), Outcome(outcome), session or name, **times)


def history(*texts: str) -> list[Transaction]:
    """Transactions at no particular time; `fail: ...` and `unknown: ...` are of that outcome."""
    parts = [text.rpartition(": ") for text in texts]
    return [transaction(f"T{n}", text, of or "ok") for n, (of, _, text) in enumerate(parts)]


def names(anomalies) -> set[str]:
    return {anomaly.name for anomaly in anomalies}


GOOD = {
    "nothing happened": [],
    "one after the other": ["ax1", "rx1 ax2", "rx12"],
    "a read of the past": ["ax1", "ax2", "rx1", "rx"],
    "own appends are seen": ["ax1 rx1 ax2 rx12", "rx12"],
    "an unknown outcome that was not": ["unknown: ax1", "rx"],
    "an unknown outcome that was": ["unknown: ax1", "rx1", "rx"],
    "a failure that left nothing": ["fail: ax1", "rx", "ax2", "rx2"],
    "reads that two transactions explain": ["ax1 ay1", "rx1 ry1", "rx ry"],
    "appended without reading": ["ax1", "ax2", "ax3", "rx123"],
}

BAD = {
    "G0: two interleaved their writes": ("G0", ["ax1 ay1", "ax2 ay2", "rx12 ry21"]),
    "G1a: what failed was seen": ("G1a", ["fail: ax1", "rx1"]),
    "G1a: below what was appended": ("G1a", ["fail: ax1", "ax2", "rx12"]),
    "G1b: half of it was seen": ("G1b", ["ax1 ax2", "rx1", "rx12"]),
    "G1c: each saw the other's": ("G1c", ["ax1 ry1", "ay1 rx1"]),
    "G1c: a circle of three": ("G1c", ["ax1 ry1", "ay1 rz1", "az1 rx1"]),
    "G-single: one saw half of another": ("G-single", ["ax1 ay1", "rx1 ry", "rx1 ry1"]),
    "G-single: a lost update": ("G-single", ["rx ax1", "rx ax2", "rx12"]),
    "G-single: one after what it did not see": ("G-single", ["ax1", "rx ax2", "rx12"]),
    "G-nonadjacent: two readers disagree": (
        "G-nonadjacent",
        ["ax1", "ay1", "rx1 ry", "rx ry1", "rx1 ry1"],
    ),
    "G2: write skew": ("G2", ["rx ay1", "ry ax1", "rx1 ry1"]),
    "G2: write skew of three": ("G2", ["rx ay1", "ry az1", "rz ax1", "rx1 ry1 rz1"]),
    "internal: another value the second time": ("internal", ["ax1", "rx rx1"]),
    "internal: own append not seen": ("internal", ["ax1", "ax2 rx1"]),
    "incompatible: neither is a beginning of the other": (
        "incompatible-order",
        ["ax1", "ax2", "rx12", "rx21"],
    ),
    "duplicate: applied twice": ("duplicate", ["ax1", "rx11"]),
    "garbage: from nowhere": ("garbage", ["rx7"]),
}


@pytest.mark.parametrize("case", GOOD)
def test_good_histories(case: str) -> None:
    assert find_anomalies(history(*GOOD[case])) == []


@pytest.mark.parametrize("case", BAD)
def test_bad_histories(case: str) -> None:
    name, texts = BAD[case]
    found = find_anomalies(history(*texts))
    assert names(found) - {name} <= ({"G-single"} if name == "G1b" else set())
    assert name in names(found)
    assert violations(found, serializable=True) == found
    assert violations(found, serializable=False) == ([] if name == "G2" else found)


@pytest.mark.parametrize("case", BAD)
def test_bad_histories_amid_good_ones(case: str) -> None:
    name, texts = BAD[case]
    around = [f"a{key}1 a{other}1" for key, other in zip("abcdef", "bcdefg", strict=True)]
    assert names(find_anomalies(history(*around[:3], *texts, *around[3:], "ra1"))) >= {name}


def test_an_anomaly_says_who_and_why() -> None:
    (found,) = find_anomalies(history("rx ay1", "ry ax1", "rx1 ry1"))
    assert str(found).splitlines() == [
        "G2: T1 after T0 (rw: of x, 1 was not seen yet); T0 after T1 (rw: of y, 1 was not seen yet)",
        "    T0 (T0, ok): read x []; append y 1",
        "    T1 (T1, ok): read y []; append x 1",
    ]


def test_a_grave_anomaly_is_not_told_again_by_lesser_names() -> None:
    found = find_anomalies(history("rx ax1 ay1", "rx ax2 ay2", "rx12 ry21"))
    assert names(found) == {"G0"}


# ---------------------------------------------------------------- the end


def test_lost_append() -> None:
    found = find_anomalies(history("ax1", "ax2", "rx2"), {"x": (2,)})
    assert names(found) == {"lost"}


def test_a_failed_append_that_is_there_at_the_end() -> None:
    assert names(find_anomalies(history("fail: ax1"), {"x": (1,)})) == {"G1a"}


def test_one_of_unknown_outcome_that_is_there_in_part() -> None:
    assert names(find_anomalies(history("unknown: ax1 ay1"), {"x": (1,)})) == {"torn"}


def test_own_appends_in_another_order() -> None:
    assert names(find_anomalies(history("ax1 ax2"), {"x": (2, 1)})) >= {"internal"}


def test_what_was_read_is_not_there_at_the_end() -> None:
    found = find_anomalies(history("unknown: ax1", "rx1"), {"x": ()})
    assert names(found) == {"incompatible-order"}


# ---------------------------------------------------------------- sessions and time


def timed(*parts: tuple[str, str, float, float]) -> list[Transaction]:
    return [
        transaction(f"T{n}", text, session=session, called=called, returned=returned)
        for n, (session, text, called, returned) in enumerate(parts)
    ]


def test_a_node_goes_back_in_time() -> None:
    past = timed(("n1", "ax1", 0, 1), ("n2", "rx1", 2, 3), ("n2", "rx", 4, 5))
    assert names(find_anomalies(past)) == {"G-single-session"}
    assert find_anomalies(past, timed=False) == []


def test_a_node_does_not_see_what_was_written_on_it() -> None:
    past = timed(("n1", "ax1", 0, 1), ("n1", "rx", 2, 3), ("n1", "rx1", 4, 5))
    assert names(find_anomalies(past)) == {"G-single-session"}


def test_another_node_may_be_behind() -> None:
    assert find_anomalies(timed(("n1", "ax1", 0, 1), ("n2", "rx", 2, 3), ("n2", "rx1", 9, 9))) == []


def test_who_overlaps_may_see_either() -> None:
    assert find_anomalies(timed(("n1", "ax1", 0, 3), ("n1", "rx", 2, 4), ("n1", "rx1", 2, 4))) == []


def test_writes_on_different_nodes_in_another_order_than_that_of_time() -> None:
    past = timed(("n1", "ax1", 0, 1), ("n2", "ax2", 2, 3), ("n3", "rx21", 4, 5))
    found = find_anomalies(past)
    assert names(found) == {"G0-realtime"}
    assert violations(found, serializable=False) == found


def test_a_writer_that_read_the_past_is_allowed_by_snapshots_only() -> None:
    past = timed(("n1", "ax1", 0, 1), ("n2", "rx ay1", 2, 3), ("n3", "rx1 ry1", 4, 5))
    found = find_anomalies(past)
    assert names(found) == {"G-single-realtime"}
    assert violations(found, serializable=False) == []
    assert violations(found, serializable=True) == found


# ---------------------------------------------------------------- histories of real size


def snapshot_isolated(seed: int, count: int, clients: int = 8) -> tuple[list[Transaction], dict]:
    """What clients of one store with snapshot isolation see; conflicts fail."""
    rng = random.Random(seed)
    now = 0.0
    lists: dict[int, tuple[int, ...]] = {}
    changed: dict[int, float] = {}
    open_ones: list[tuple] = []
    past: list[Transaction] = []
    for number in range(count):
        while len(open_ones) == clients or (open_ones and rng.random() < 0.5):
            now += 1
            name, steps, began = open_ones.pop(rng.randrange(len(open_ones)))
            mine = {s.key for s in steps if isinstance(s, Append)}
            won = all(changed.get(key, -1.0) < began for key in mine)
            if won:
                for step in steps:
                    if isinstance(step, Append):
                        lists[step.key] = (*lists.get(step.key, ()), step.element)
                        changed[step.key] = now
            outcome = Outcome.OK if won else Outcome.FAIL
            past.append(Transaction(name, tuple(steps), outcome, "store", began, now))
        now += 1
        steps, snapshot = [], dict(lists)
        for part in range(rng.randint(1, 4)):
            key = number // 200 * 5 + rng.randrange(5)
            if rng.random() < 0.5:
                steps.append(Append(key, number * 10 + part))
                snapshot[key] = (*snapshot.get(key, ()), number * 10 + part)
            else:
                steps.append(Read(key, snapshot.get(key, ())))
        open_ones.append((f"T{number}", steps, now))
    return past, lists


@pytest.mark.parametrize("seed", range(3))
def test_long_histories_of_a_store_with_snapshot_isolation(seed: int) -> None:
    found = find_anomalies(*snapshot_isolated(seed, 3000))
    assert violations(found, serializable=False) == []
    assert names(found) == {"G2", "G2-session"}


def test_one_lost_update_in_a_long_history_is_found() -> None:
    past, final = snapshot_isolated(1, 2000)
    at, loser = next(
        (n, t) for n, t in enumerate(past) if t.outcome is Outcome.OK and t.writes and n > 500
    )
    (step, *_) = [s for s in loser.steps if isinstance(s, Append)]
    order = final[step.key]
    stale = Read(step.key, order[: max(order.index(step.element) - 3, 0)])
    steps = (stale, *(s for s in loser.steps if isinstance(s, Append)))
    past[at] = Transaction(loser.name, steps, loser.outcome, "another", loser.called, None)
    found = violations(find_anomalies(past, final, timed=False), serializable=False)
    assert names(found) == {"G-single"}
    assert loser.name in {t.name for t in found[0].transactions}
