"""The checker on histories that are known to be good or bad."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability.checker import (
    Undecided,
    apply,
    by_key,
    find_counterexample,
    judge,
)
from tests.linearizability.history import Cas, Get, Operation, Put


def put(client: str, called: float, returned: float | None, value: int, key: str = "x"):
    return Operation(client, Put(key, value), called, returned)


def get(client: str, called: float, returned: float | None, value: int | None, key: str = "x"):
    return Operation(client, Get(key), called, returned, value)


def cas(client, called, returned, expected, value, result=None, key="x"):
    return Operation(client, Cas(key, expected, value), called, returned, result)


GOOD = {
    "nothing happened": [],
    "one after the other": [put("a", 0, 1, 1), get("b", 2, 3, 1)],
    "a read during a write sees the old value": [put("a", 0, 9, 1), get("b", 1, 2, None)],
    "a read during a write sees the new value": [put("a", 0, 9, 1), get("b", 1, 2, 1)],
    "reads during a write, old before new": [
        put("a", 0, 9, 1),
        get("b", 1, 2, None),
        get("c", 3, 4, 1),
    ],
    "overlapping writes in the order opposite to their calls": [
        put("a", 0, 9, 1),
        put("b", 1, 8, 2),
        get("c", 10, 11, 1),
    ],
    "touching intervals overlap": [put("a", 0, 5, 1), get("b", 5, 6, None)],
    "a write of unknown outcome that never was": [put("a", 0, None, 1), get("b", 5, 6, None)],
    "a write of unknown outcome that took effect late": [
        put("a", 0, None, 1),
        get("b", 5, 6, None),
        get("b", 50, 60, 1),
    ],
    "two writes of unknown outcome, each seen once": [
        put("a", 0, None, 1),
        put("b", 0, None, 2),
        get("c", 5, 6, 2),
        get("c", 7, 8, 1),
    ],
    "compare and set, one of two wins": [
        cas("a", 0, 9, None, 1, True),
        cas("b", 0, 9, None, 2, False),
        get("c", 10, 11, 1),
    ],
    "a chain that works in one order only": [
        cas("a", 0, 99, 2, 3, True),
        cas("b", 0, 99, 1, 2, True),
        cas("c", 0, 99, None, 1, True),
        get("d", 0, 99, 3),
    ],
    "a compare of unknown outcome explains a later failure": [
        cas("a", 0, None, None, 1),
        cas("b", 5, 6, None, 2, False),
        get("b", 7, 8, 1),
    ],
    "an unseen write of unknown outcome explains a failed compare": [
        put("a", 0, None, 7),
        cas("b", 5, 6, None, 2, False),
    ],
    "keys do not hinder each other": [
        put("a", 0, 1, 1, "x"),
        get("b", 2, 3, None, "y"),
        put("b", 4, 5, 2, "y"),
        get("a", 6, 7, 1, "x"),
        get("a", 8, 9, 2, "y"),
    ],
}

BAD = {
    "a stale read": [put("a", 0, 1, 1), put("a", 2, 3, 2), get("b", 4, 5, 1)],
    "a lost write": [put("a", 0, 1, 1), get("b", 2, 3, None)],
    "a value that nobody wrote": [put("a", 0, 1, 1), get("b", 2, 3, 9)],
    "a value read before it was written": [get("b", 0, 1, 1), put("a", 2, 3, 1)],
    "new before old, for two readers": [
        put("a", 0, 9, 1),
        get("b", 1, 2, 1),
        get("c", 3, 4, None),
    ],
    "readers that disagree about the order of two writes": [
        put("a", 0, 3, 1),
        put("b", 0, 3, 2),
        get("c", 4, 5, 1),
        get("d", 6, 7, 2),
    ],
    "a write of unknown outcome undone": [
        put("a", 0, None, 1),
        get("b", 5, 6, 1),
        get("b", 7, 8, None),
    ],
    "a write of unknown outcome seen before its call": [
        get("b", 0, 1, 1),
        put("a", 2, None, 1),
    ],
    "two winners of one compare": [
        cas("a", 0, 9, None, 1, True),
        cas("b", 0, 9, None, 2, True),
    ],
    "a compare that fails although nothing is in its way": [
        put("a", 0, 1, 1),
        cas("b", 2, 3, 1, 2, False),
    ],
    "a write that took effect twice": [
        put("a", 0, None, 1),
        get("b", 3, 4, 1),
        put("b", 5, 6, 2),
        get("b", 7, 8, 2),
        get("b", 9, 10, 1),
    ],
    "one bad key among good ones": [
        put("a", 0, 1, 1, "x"),
        get("a", 2, 3, 1, "x"),
        put("a", 0, 1, 1, "y"),
        get("a", 2, 3, None, "y"),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_known_to_be_linearizable(name):
    assert find_counterexample(GOOD[name]) is None


@pytest.mark.parametrize("name", BAD)
def test_known_not_to_be_linearizable(name):
    assert find_counterexample(BAD[name]) is not None


def test_the_order_found_explains_every_result():
    history = GOOD["a chain that works in one order only"]
    verdict = judge(history)
    state = None
    for operation in verdict.order:
        state, result = apply(state, operation.action)
        assert result == operation.result
    assert set(verdict.order) == set(history)
    assert state == verdict.state


# ---------------------------------------------------------------- against the definition


def by_definition(history: list[Operation]) -> bool:
    """Every order of every choice of the operations of unknown outcome, tried."""
    known = [o for o in history if o.known]
    unknown = [o for o in history if not o.known]
    for chosen in range(1 << len(unknown)):
        some = known + [o for i, o in enumerate(unknown) if chosen >> i & 1]
        if any(explains(order) for order in permutations(some)):
            return True
    return False


def explains(order: tuple[Operation, ...]) -> bool:
    state = None
    for i, operation in enumerate(order):
        if any(o.known and o.returned < operation.called for o in order[i + 1 :]):
            return False
        state, result = apply(state, operation.action)
        if operation.known and result != operation.result:
            return False
    return True


@st.composite
def small_histories(draw):
    history = []
    for number in range(draw(st.integers(0, 5))):
        called = draw(st.integers(0, 8))
        returned = draw(st.one_of(st.none(), st.integers(called, 10)))
        values = st.sampled_from([None, 1, 2])
        match draw(st.sampled_from("gpc")):
            case "g":
                history.append(get(f"c{number}", called, returned, draw(values)))
            case "p":
                history.append(put(f"c{number}", called, returned, draw(st.sampled_from([1, 2]))))
            case "c":
                expected, result = draw(values), draw(st.booleans())
                value = draw(st.sampled_from([1, 2]))
                history.append(cas(f"c{number}", called, returned, expected, value, result))
    return history


@settings(max_examples=600)
@given(small_histories())
def test_it_agrees_with_the_definition(history):
    assert judge(history).linearizable == by_definition(history)


# ---------------------------------------------------------------- histories of real size


def atomic_history(seed: int, count: int, clients: int, keys: int, unknown: float = 0.0):
    """What clients of one correct map see: each operation takes effect at a moment of its own."""
    rng = random.Random(seed)
    free = dict.fromkeys(range(clients), 0.0)
    planned = []
    for number in range(count):
        client = min(free, key=lambda c: free[c])
        called = free[client] + rng.random()
        effect = called + rng.random() * 3
        returned = effect + rng.random() * 3
        free[client] = returned
        key = rng.randrange(keys)
        action = rng.choice(
            [Get(key), Put(key, number), Cas(key, rng.randrange(number + 1), number)]
        )
        planned.append((effect, client, action, called, returned, rng.random() < unknown))
    state: dict[int, object] = {}
    history = []
    for effect, client, action, called, returned, lost in sorted(planned, key=lambda p: p[0]):
        assert effect
        if lost and rng.random() < 0.5:
            result = None
        else:
            state[action.key], result = apply(state.get(action.key), action)
        history.append(
            Operation(client, action, called, None if lost else returned, None if lost else result)
        )
    return history


@pytest.mark.parametrize("seed", range(5))
def test_long_histories_of_an_atomic_map(seed):
    assert find_counterexample(atomic_history(seed, 3000, clients=8, keys=6)) is None


@pytest.mark.parametrize("seed", range(5))
def test_long_histories_with_unknown_outcomes(seed):
    history = atomic_history(seed, 600, clients=6, keys=40, unknown=0.1)
    assert find_counterexample(history) is None


@pytest.mark.parametrize("seed", range(10))
def test_one_stale_read_in_a_long_history_is_found(seed):
    rng = random.Random(seed)
    history = atomic_history(seed, 2000, clients=5, keys=4)
    reads = [i for i, o in enumerate(history) if isinstance(o.action, Get) and i > 500]
    at = rng.choice(reads)
    read = history[at]
    older = [o for o in history if isinstance(o.action, Put) and o.action.key == read.action.key]
    stale = older[0].action.value
    history[at] = Operation(read.client, read.action, read.called, read.returned, stale)
    found = find_counterexample(history)
    assert found is not None
    assert found.key == read.action.key
    assert history[at] in found.operations
    assert len(found.operations) < 500


def test_memoisation_keeps_overlapping_writes_from_being_tried_in_every_order():
    # Twelve writes at once have 479 million orders, but only 12 * 2^12 sets with a last one.
    history = [put(f"c{n}", 0, 100, n) for n in range(12)] + [get("r", 200, 201, 99)]
    verdict = judge(history)
    assert not verdict.linearizable
    assert verdict.steps < 12 * 12 * 2**12


def test_unknown_writes_that_nobody_saw_cost_nothing():
    history = [put(f"c{n}", n, None, n) for n in range(1, 60)]
    history += [get("r", 100 + n, 100.5 + n, 7) for n in range(50)]
    assert judge(history).linearizable
    assert judge(history).steps < 300


def test_what_is_too_much_to_decide_is_not_called_good(monkeypatch):
    monkeypatch.setattr("tests.linearizability.checker.STEPS_MAX", 1000)
    history = [put(f"c{n}", 0, 100, n) for n in range(12)] + [get("r", 200, 201, 99)]
    with pytest.raises(Undecided):
        judge(history)


def test_keys_are_judged_by_themselves():
    history = atomic_history(1, 50, clients=3, keys=3)
    parts = by_key(history)
    assert sum(map(len, parts.values())) == 50
    assert all(o.action.key == key for key, part in parts.items() for o in part)


# ---------------------------------------------------------------- the counterexample


def test_a_counterexample_is_short_and_says_what_would_have_been_right():
    history = [put("a", 2 * n, 2 * n + 1, n) for n in range(50)]
    history += [get("b", 2 * n + 0.2, 2 * n + 1.5, n) for n in range(50)]
    history += [get("c", 61.1, 61.5, 12), put("a", 200, 201, 1000)]
    assert str(find_counterexample(history)).splitlines() == [
        "Key x is not linearizable.  What happened, in the order of calls:",
        "    [24, 25] a: put x = 12",
        "    [60, 61] a: put x = 30",
        "    [61.1, 61.5] c: get x gives 12",
        "The longest order that explains what clients were told:",
        "    [24, 25] a: put x = 12",
        "    [60, 61] a: put x = 30",
        "Then the value is 30, and nothing of what is left can be next:",
        "    [61.1, 61.5] c: get x gives 12 (it would give 30)",
    ]


@pytest.mark.parametrize("name", BAD)
def test_a_counterexample_is_itself_not_linearizable(name):
    found = find_counterexample(BAD[name])
    assert not by_definition(list(found.operations))
    assert str(found).count("\n") >= 4


def test_an_operation_cannot_return_before_its_call():
    with pytest.raises(ValueError, match="returned before"):
        put("a", 5, 4, 1)
