"""The dependency-cycle checker against the definitions of the isolation levels, tried out in full."""

from __future__ import annotations

import random
from itertools import permutations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads.anomalies import find_anomalies, violations
from tests.workloads.dependencies import Append, Read, Transaction
from tests.workloads.history import Outcome

Lists = dict[str, tuple[int, ...]]


def run(steps, snapshot: Lists) -> bool:
    """Whether the reads are those of somebody who works on a snapshot."""
    lists = dict(snapshot)
    for step in steps:
        if isinstance(step, Append):
            lists[step.key] = (*lists.get(step.key, ()), step.element)
        elif step.elements is not None and lists.get(step.key, ()) != step.elements:
            return False
    return True


def before(a: Transaction, b: Transaction) -> bool:
    return a.outcome is Outcome.OK and a.returned is not None and a.returned < b.called


def choices(past: list[Transaction]):
    """Every set of transactions that may have happened."""
    certain = [t for t in past if t.outcome is Outcome.OK]
    unknown = [t for t in past if t.outcome is Outcome.UNKNOWN]
    for chosen in product([False, True], repeat=len(unknown)):
        yield certain + [t for t, there in zip(unknown, chosen, strict=True) if there]


def is_serializable(past: list[Transaction], final: Lists) -> bool:
    return any(_serial(order, final) for chosen in choices(past) for order in permutations(chosen))


def _serial(order: tuple[Transaction, ...], final: Lists) -> bool:
    lists: Lists = {}
    for n, t in enumerate(order):
        for later in order[n + 1 :]:
            same = later.session == t.session or (later.writes and t.writes)
            if same and before(later, t):
                return False
        if not run(t.steps, lists):
            return False
        for key in "xy":
            lists[key] = lists.get(key, ()) + t.appended(key)
    return all(lists.get(key, ()) == final[key] for key in final)


def is_snapshot_isolated(past: list[Transaction], final: Lists) -> bool:
    """Any order of starts and commits in which reads are of the start and the first committer wins."""
    return any(_continue(chosen, {}, [], {}, {}, final) for chosen in choices(past))


def _continue(chosen, started, committed, lists, changed, final) -> bool:
    """Depth first over what can be next; `changed` tells when each list last changed."""
    now = len(committed)
    if now == len(chosen):
        return all(lists.get(key, ()) == final[key] for key in final)
    for number, t in enumerate(chosen):
        if number in committed:
            continue
        others = [n for n in range(len(chosen)) if n not in committed and n != number]
        if number not in started:
            if any(chosen[n].session == t.session and before(chosen[n], t) for n in others):
                continue
            if run(t.steps, lists) and _continue(
                chosen, {**started, number: now}, committed, lists, changed, final
            ):
                return True
            continue
        if t.writes and any(chosen[n].writes and before(chosen[n], t) for n in others):
            continue
        mine = {key for key in "xy" if t.appended(key)}
        if any(changed.get(key, 0) > started[number] for key in mine):
            continue
        then = {key: lists.get(key, ()) + t.appended(key) for key in mine}
        if _continue(
            chosen,
            started,
            [*committed, number],
            {**lists, **then},
            {**changed, **dict.fromkeys(mine, now + 1)},
            final,
        ):
            return True
    return False


@st.composite
def tiny_histories(draw) -> tuple[list[Transaction], Lists]:
    """Up to four transactions on two lists; their reads are beginnings of what the lists become."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    count = rng.randint(1, 4)
    shapes = [
        [(rng.choice("ar"), rng.choice("xy")) for _ in range(rng.randint(1, 3))]
        for _ in range(count)
    ]
    outcomes = rng.choices([Outcome.OK, Outcome.UNKNOWN, Outcome.FAIL], [8, 1, 1], k=count)
    happened = [o is Outcome.OK or (o is Outcome.UNKNOWN and rng.random() < 0.5) for o in outcomes]
    # Whole transactions in some order, less often an order for each list, seldom element by element.
    order = rng.sample(range(count), count)
    final: Lists = {}
    for key in "xy":
        if rng.random() < 0.3:
            order = rng.sample(range(count), count)
        elements = [
            10 * t + n
            for t in order
            if happened[t]
            for n, s in enumerate(shapes[t])
            if s == ("a", key)
        ]
        if rng.random() < 0.05:
            rng.shuffle(elements)
        if rng.random() < 0.05:
            del elements[:1]
        final[key] = tuple(elements)
    past = []
    all_read_nothing = rng.random() < 0.2
    for number, shape in enumerate(shapes):
        base = {
            key: final[key][: 0 if all_read_nothing else rng.randint(0, len(final[key]))]
            for key in "xy"
        }
        steps: list[Append | Read] = []
        for n, (kind, key) in enumerate(shape):
            if kind == "a":
                steps.append(Append(key, 10 * number + n))
                base[key] = (*(e for e in base[key] if e // 10 != number), *own(steps, key))
            else:
                known = outcomes[number] is Outcome.OK
                mine = set(own(shape_steps(shape, number), key)) - set(own(steps, key))
                seen = tuple(e for e in base[key] if e not in mine)
                steps.append(Read(key, seen if known else None))
        called = rng.randint(0, 9)
        returned = called + rng.randint(0, 4)
        session = rng.choice(["n1", "n2"])
        past.append(
            Transaction(f"T{number}", tuple(steps), outcomes[number], session, called, returned)
        )
    if rng.random() < 0.4:
        past = [Transaction(t.name, t.steps, t.outcome, t.name, 0, 9) for t in past]
    return past, final


def own(steps, key: str) -> tuple[int, ...]:
    return tuple(s.element for s in steps if isinstance(s, Append) and s.key == key)


def shape_steps(shape, number: int) -> list[Append]:
    return [Append(key, 10 * number + n) for n, (kind, key) in enumerate(shape) if kind == "a"]


@settings(max_examples=1500)
@given(tiny_histories())
def test_it_agrees_with_the_definitions(drawn: tuple[list[Transaction], Lists]) -> None:
    past, final = drawn
    found = find_anomalies(past, final)
    assert (violations(found, serializable=True) == []) == is_serializable(past, final)
    assert (violations(found, serializable=False) == []) == is_snapshot_isolated(past, final)


def test_the_histories_drawn_are_of_all_kinds() -> None:
    """The property test would prove little if all of its histories were good, or all bad."""
    seen: dict[tuple[bool, bool], int] = {}

    @settings(max_examples=500, database=None)
    @given(tiny_histories())
    def count(drawn: tuple[list[Transaction], Lists]) -> None:
        found = find_anomalies(*drawn)
        levels = tuple(violations(found, serializable=level) == [] for level in (True, False))
        seen[levels] = seen.get(levels, 0) + 1

    count()
    assert {(True, True), (False, True), (False, False)} <= set(seen)
