"""Transactions that append to lists and read them: which had to come before which.

The idea is that of Elle (Kingsbury and Alvaro, 2020): a list that was read tells in which order its
elements were appended, so the order of versions need not be guessed.  Elements are unique.  From
the lists follow

    ww  one transaction's element is behind another's in a list
    wr  a transaction read a list whose last element is another's
    rw  a transaction read a list that does not hold yet the next element, which is another's

and from what clients knew of time

    session   one ended on a node before the other began on the same node
    realtime  one that wrote ended before another that wrote began, on any node
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.workloads.history import Outcome

Elements = tuple[Hashable, ...]
SHOWN_MAX = 8
"""How many elements of a list are told in an explanation."""
WW, WR, RW, SESSION, REALTIME = "ww", "wr", "rw", "session", "realtime"


@dataclass(frozen=True, slots=True)
class Append:
    """Put an element behind all others of a list."""

    key: Hashable
    element: Hashable

    def __str__(self) -> str:
        return f"append {self.key} {self.element}"


@dataclass(frozen=True, slots=True)
class Read:
    """All elements of a list; what was read is None where nobody knows."""

    key: Hashable
    elements: Elements | None

    def __str__(self) -> str:
        return f"read {self.key} [{_text(self.elements)}]"


Step = Append | Read


@dataclass(frozen=True, slots=True)
class Transaction:
    """Steps that were made together, or not."""

    name: str
    steps: tuple[Step, ...]
    outcome: Outcome
    session: str = ""
    called: float = 0.0
    returned: float | None = None

    @property
    def writes(self) -> bool:
        return any(isinstance(step, Append) for step in self.steps)

    def appended(self, key: Hashable) -> Elements:
        """What it put into a list, in order."""
        return tuple(s.element for s in self.steps if isinstance(s, Append) and s.key == key)

    def __str__(self) -> str:
        steps = "; ".join(map(str, self.steps))
        return f"{self.name} ({self.session}, {self.outcome}): {steps}"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that must not be: its name in the field, an explanation, and who took part."""

    name: str
    explanation: str
    transactions: tuple[Transaction, ...]
    with_snapshots: bool = False
    """Whether snapshot isolation allows it, and only serializability excludes it."""

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.explanation}", *(f"    {t}" for t in self.transactions)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Edge:
    """One transaction had to come before another."""

    source: int
    target: int
    kind: str
    why: str


@dataclass
class Inference:
    """What follows from a history: what is wrong without any cycle, and the dependencies."""

    transactions: list[Transaction]
    """Those that happened, as far as can be known."""
    anomalies: list[Anomaly] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def infer(
    history: Sequence[Transaction], final: Mapping[Hashable, Elements] | None = None
) -> Inference:
    """Dependencies of a history.  `final`: all lists as they are when everything has ended."""
    return _Inference(history, final).run()


class _Inference:
    def __init__(
        self, history: Sequence[Transaction], final: Mapping[Hashable, Elements] | None
    ) -> None:
        self.history = history
        self.final = final
        self.anomalies: list[Anomaly] = []
        self.appender: dict[tuple[Hashable, Hashable], Transaction] = {
            (step.key, step.element): transaction
            for transaction in history
            for step in transaction.steps
            if isinstance(step, Append)
        }

    def run(self) -> Inference:
        ok = [t for t in self.history if t.outcome is Outcome.OK]
        reads = [(t, read) for t in ok for read in self._external_reads(t)]
        for transaction, read in reads:
            self._judge_read(transaction, read)
        orders = self._orders(reads)
        seen = {(key, element) for key, order in orders.items() for element in order}
        happened = [
            t
            for t in self.history
            if t.outcome is Outcome.OK
            or any(isinstance(s, Append) and (s.key, s.element) in seen for s in t.steps)
        ]
        if self.final is not None:
            self._judge_final(self.final, happened)
        place = {id(t): number for number, t in enumerate(happened)}
        edges = list(self._edges(orders, reads, place))
        return Inference(happened, self.anomalies, edges)

    def _tell(self, name: str, explanation: str, *transactions: Transaction) -> None:
        self.anomalies.append(Anomaly(name, explanation, transactions))

    def _external_reads(self, transaction: Transaction) -> Iterator[Read]:
        """What it read of others: the first read of each list, without what it had appended."""
        known: dict[Hashable, Elements] = {}
        own: dict[Hashable, Elements] = defaultdict(tuple)
        for step in transaction.steps:
            if isinstance(step, Append):
                own[step.key] += (step.element,)
                continue
            if step.elements is None:
                continue
            mine = own[step.key]
            if step.key in known:
                expected = known[step.key] + mine
                if step.elements != expected:
                    self._tell("internal", f"{step}, expected [{_text(expected)}]", transaction)
            elif mine and step.elements[-len(mine) :] != mine:
                self._tell(
                    "internal", f"{step} does not end with its own [{_text(mine)}]", transaction
                )
            else:
                known[step.key] = step.elements[: len(step.elements) - len(mine)]
                yield Read(step.key, known[step.key])

    def _judge_read(self, reader: Transaction, read: Read) -> None:
        elements = read.elements or ()
        if len(set(elements)) < len(elements):
            self._tell("duplicate", f"{read} holds an element twice", reader)
        for element in elements:
            writer = self.appender.get((read.key, element))
            if writer is None:
                self._tell("garbage", f"{read}: nobody appended {element}", reader)
            elif writer.outcome is Outcome.FAIL:
                self._tell("G1a", f"{read}: {element} is of one that failed", writer, reader)
        if not elements or (writer := self.appender.get((read.key, elements[-1]))) is None:
            return
        if elements[-1] != (last := writer.appended(read.key)[-1]):
            self._tell("G1b", f"{read}: the same one appended {last}, too", writer, reader)

    def _orders(self, reads: list[tuple[Transaction, Read]]) -> dict[Hashable, Elements]:
        """Each list at its longest; every read of it must be a beginning of that."""
        longest: dict[Hashable, tuple[Elements, Transaction | None]] = {}
        for reader, read in reads:
            assert read.elements is not None
            if len(read.elements) > len(longest.get(read.key, ((), None))[0]):
                longest[read.key] = (read.elements, reader)
        for key, elements in (self.final or {}).items():
            longest[key] = (elements, None)
        for reader, read in reads:
            assert read.elements is not None
            order, other = longest.get(read.key, ((), None))
            if order[: len(read.elements)] != read.elements:
                who = (reader,) if other is None else (reader, other)
                self._tell("incompatible-order", f"{read}, but also [{_text(order)}]", *who)
        return {key: order for key, (order, _) in longest.items()}

    def _judge_final(
        self, final: Mapping[Hashable, Elements], happened: Iterable[Transaction]
    ) -> None:
        for key, elements in final.items():
            end = Transaction("the end", (Read(key, elements),), Outcome.OK)
            self._judge_read(end, Read(key, elements))
        for transaction in happened:
            known = transaction.outcome is Outcome.OK
            for step in transaction.steps:
                if isinstance(step, Append) and step.element not in final.get(step.key, ()):
                    if known:
                        self._tell("lost", f"{step} was acknowledged, and is gone", transaction)
                    else:
                        self._tell("torn", f"{step} is not there, others are", transaction)

    def _edges(
        self,
        orders: Mapping[Hashable, Elements],
        reads: Iterable[tuple[Transaction, Read]],
        place: Mapping[int, int],
    ) -> Iterator[Edge]:
        def number(key: Hashable, element: Hashable) -> int | None:
            writer = self.appender.get((key, element))
            return None if writer is None else place.get(id(writer))

        for key, order in orders.items():
            for one, following in pairwise(order):
                a, b = number(key, one), number(key, following)
                if a is not None and a == b:
                    self._judge_own(key, one, following)
                elif a is not None and b is not None:
                    yield Edge(a, b, WW, f"in {key}, {following} is behind {one}")
        for reader, read in reads:
            assert read.elements is not None
            order, count, b = orders.get(read.key, ()), len(read.elements), place[id(reader)]
            if order[:count] != read.elements:
                continue  # An anomaly already; nothing follows from it.
            if count and (a := number(read.key, order[count - 1])) is not None and a != b:
                yield Edge(a, b, WR, f"of {read.key}, {order[count - 1]} was seen")
            if len(order) > count and (c := number(read.key, order[count])) is not None and c != b:
                yield Edge(b, c, RW, f"of {read.key}, {order[count]} was not seen yet")

    def _judge_own(self, key: Hashable, one: Hashable, following: Hashable) -> None:
        writer = self.appender[key, one]
        own = writer.appended(key)
        if own.index(one) > own.index(following):
            self._tell("internal", f"{key} holds {following} behind {one}", writer)


def after_in_time(transactions: Iterable[tuple[int, Transaction]]) -> Iterator[tuple[int, int]]:
    """Pairs of which the first was acknowledged before the second began; no pair that others imply."""
    some = list(transactions)
    ended = sorted(
        (t.returned, t.called, number)
        for number, t in some
        if t.returned is not None and t.outcome is Outcome.OK
    )
    for number, transaction in some:
        latest_call = float("-inf")
        for at in range(bisect_left(ended, (transaction.called,)) - 1, -1, -1):
            returned, called, other = ended[at]
            if returned < latest_call:
                break  # Another began after this one ended, and all that are left ended even earlier.
            latest_call = max(latest_call, called)
            yield other, number


def _text(elements: Elements | None) -> str:
    """The end of a list tells most."""
    if elements is None:
        return "?"
    left_out = f"{len(elements) - SHOWN_MAX} more, " if len(elements) > SHOWN_MAX else ""
    return left_out + " ".join(map(str, elements[-SHOWN_MAX:]))
