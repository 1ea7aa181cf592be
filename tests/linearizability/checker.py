"""Is a history linearizable?  The algorithm of Wing and Gong with Lowe's memoisation.

Wing and Gong (1993) search for an order: of the operations called before the first return that is
left, try each as the next one.  Lowe (2017) adds what makes it usable: the same set of operations in
two orders that lead to the same state need not be continued twice.  A map is linearizable exactly if
each key is by itself (locality, Herlihy and Wing), so keys are judged one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.linearizability.history import Action, Cas, Get, Operation, Put, Value

STEPS_MAX = 5_000_000
"""Beyond this a history is not judged: `Undecided`."""


class Undecided(Exception):
    """The history has too many operations at once for its order to be searched."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found, for one key."""

    linearizable: bool
    order: tuple[Operation, ...]
    """An order that explains the results: of all operations, or of as many as could be."""
    state: Value
    """The value behind that order."""
    steps: int
    """Operations tried."""


def apply(state: Value, action: Action) -> tuple[Value, Value]:
    """What a register does: its next state, and the result."""
    match action:
        case Get():
            return state, state
        case Put(value=value):
            return value, None
        case Cas(expected=expected, value=value):
            return (value, True) if state == expected else (state, False)


def by_key(history: Iterable[Operation]) -> dict[object, list[Operation]]:
    """A history's parts, each of which is judged by itself."""
    parts: dict[object, list[Operation]] = {}
    for operation in history:
        parts.setdefault(operation.action.key, []).append(operation)
    return parts


def relevant(part: Sequence[Operation]) -> list[Operation]:
    """A key's operations without those of unknown outcome that can make no difference.

    Those are reads; and, unless somebody compares, writes of what nobody has read: an order in which
    such a write takes effect is an order without it, too.  Each left in may double the search.
    """
    compared = any(isinstance(operation.action, Cas) for operation in part)
    read = {operation.result for operation in part if operation.known}

    def matters(operation: Operation) -> bool:
        match operation.action:
            case Get():
                return operation.known
            case Put(value=value):
                return operation.known or compared or value in read
            case Cas():
                return True

    return [operation for operation in part if matters(operation)]


class _Search:
    """Calls and returns in the order of time, as a list from which operations can be lifted out."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        # At equal times the call comes first: such operations overlap.
        events = [(o.called, 0, number) for number, o in enumerate(operations)]
        events += [(o.returned, 1, number) for number, o in enumerate(operations) if o.known]  # type: ignore[misc]
        events.sort()
        count = len(events)
        self.number = [number for _, _, number in events]
        self.is_return = [is_return for _, is_return, _ in events]
        # Position `count` is both ends of the list.
        self.following = [*range(1, count + 1), 0]
        self.preceding = [count, *range(count)]
        self.end = count
        self.return_of = {
            number: at for at, (_, is_return, number) in enumerate(events) if is_return
        }
        self.left = len(self.return_of)

    def lift(self, call: int) -> None:
        returned = self.return_of.get(self.number[call])
        self._unlink(call)
        if returned is not None:
            self._unlink(returned)
            self.left -= 1

    def put_back(self, call: int) -> None:
        returned = self.return_of.get(self.number[call])
        if returned is not None:
            self._link(returned)
            self.left += 1
        self._link(call)

    def _unlink(self, at: int) -> None:
        self.following[self.preceding[at]] = self.following[at]
        self.preceding[self.following[at]] = self.preceding[at]

    def _link(self, at: int) -> None:
        self.following[self.preceding[at]] = at
        self.preceding[self.following[at]] = at


def judge(part: Sequence[Operation], initial: Value = None) -> Verdict:
    """Search for an order of one key's operations; raises `Undecided`."""
    operations = relevant(part)
    search = _Search(operations)
    state, taken, steps = initial, 0, 0
    path: list[tuple[int, Value]] = []
    seen: set[tuple[int, Value]] = set()
    best: tuple[Operation, ...] = ()
    best_state = initial
    at = search.following[search.end]
    while search.left:
        if at != search.end and not search.is_return[at]:
            operation = operations[search.number[at]]
            after, result = apply(state, operation.action)
            steps += 1
            if steps > STEPS_MAX:
                raise Undecided(f"{len(operations)} operations, {steps} steps")
            place = (taken | 1 << search.number[at], after)
            if (operation.known and result != operation.result) or place in seen:
                at = search.following[at]
                continue
            seen.add(place)
            path.append((at, state))
            search.lift(at)
            taken, state = place
            if len(path) > len(best):
                best = tuple(operations[search.number[call]] for call, _ in path)
                best_state = state
            at = search.following[search.end]
        elif not path:
            return Verdict(False, best, best_state, steps)
        else:
            # Something returned before anything that is left can be the next: go back.
            at, state = path.pop()
            taken ^= 1 << search.number[at]
            search.put_back(at)
            at = search.following[at]
    order = tuple(operations[search.number[call]] for call, _ in path)
    return Verdict(True, order, state, steps)


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A key whose operations no order explains, without what does not matter."""

    key: object
    operations: tuple[Operation, ...]
    verdict: Verdict

    def __str__(self) -> str:
        order, state = self.verdict.order, self.verdict.state
        left = [operation for operation in self.operations if operation not in order]
        lines = [
            f"Key {self.key} is not linearizable.  What happened, in the order of calls:",
            *(f"    {operation}" for operation in self.operations),
            "The longest order that explains what clients were told:",
            *(f"    {operation}" for operation in order),
            f"Then the value is {state}, and nothing of what is left can be next:",
        ]
        first_return = min((o.returned for o in left if o.returned is not None), default=None)
        for operation in left:
            if first_return is not None and operation.called > first_return:
                lines.append(f"    {operation} (called only after another returned)")
                continue
            _, result = apply(state, operation.action)
            would = f"it would give {result}" if result != operation.result else "leads nowhere"
            lines.append(f"    {operation} ({would})")
        return "\n".join(lines)


def find_counterexample(
    history: Iterable[Operation], initial: Value = None
) -> Counterexample | None:
    """None if the history of a map is linearizable; else a small part of it that is not."""
    for key, part in by_key(history).items():
        if not judge(part, initial).linearizable:
            small = _reduce(part, initial)
            return Counterexample(key, tuple(small), judge(small, initial))
    return None


def until(part: Iterable[Operation], time: float) -> list[Operation]:
    """What is known of a history at some moment: what has not returned is of unknown outcome."""
    return [
        o
        if o.returned is not None and o.returned <= time
        else Operation(o.client, o.action, o.called, None)
        for o in part
        if o.called <= time
    ]


def _reduce(part: Sequence[Operation], initial: Value) -> list[Operation]:
    """The part up to the first return that no order explains, without what is not needed for that.

    It is sound: every beginning of a linearizable history is linearizable, and so it is without any
    of the operations that are removable.
    """
    returns = sorted({o.returned for o in part if o.returned is not None})
    low, high = 0, len(returns) - 1
    while low < high:
        middle = (low + high) // 2
        if judge(until(part, returns[middle]), initial).linearizable:
            low = middle + 1
        else:
            high = middle
    small = sorted(relevant(until(part, returns[low])), key=lambda o: o.called)
    # Reads first: a write that nobody reads any more may go, too.
    for operation in sorted(small, key=lambda o: not isinstance(o.action, Get)):
        without = [other for other in small if other is not operation]
        if _removable(operation, without) and not judge(without, initial).linearizable:
            small = without
    return small


def _removable(operation: Operation, others: Sequence[Operation]) -> bool:
    """Whether an order of all is, without this one, an order of the others."""
    match operation.action:
        case Get():
            return True
        case Put(value=value):
            compared = any(isinstance(other.action, Cas) for other in others)
            return not compared and all(other.result != value for other in others if other.known)
        case Cas():
            # One that failed changed nothing.
            return operation.known and operation.result is False
