"""Which isolation level a history of list-append transactions excludes: cycles of dependencies.

Names are those of Adya (1999): G0 a cycle of ww; G1c of ww and wr; G-single with one rw; G2 with
several.  G-nonadjacent: several rw, of which no two follow each other.  A cycle that needs the order
of a session or of time has that in its name: `G-single-session`, `G2-realtime`.

Snapshot isolation is judged by its definition.  Each transaction has a start, where it reads, and a
commit, where it writes, and every dependency orders two of these instants:

    start(a)  < commit(a)
    commit(a) < start(b)     a ww b (the first committer wins), a wr b, a session b
    start(a)  < commit(b)    a rw b
    commit(a) < commit(b)    a realtime b

Instants in an order that satisfies all of it are an execution under snapshot isolation, and if there
is none, there is a cycle.  For serializability start and commit are one instant.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from tests.workloads.dependencies import (
    REALTIME,
    RW,
    SESSION,
    WR,
    WW,
    Anomaly,
    Edge,
    Elements,
    Inference,
    Transaction,
    after_in_time,
    infer,
)
from tests.workloads.graph import Graph

Instant = tuple[int, bool]
"""A transaction, and whether its commit is meant."""


def find_anomalies(
    history: Sequence[Transaction],
    final: Mapping[Hashable, Elements] | None = None,
    *,
    timed: bool = True,
) -> list[Anomaly]:
    """All that is wrong by serializability; the gravest of what is knotted together.

    `timed`: sessions and time count, which is strong session snapshot isolation and more; without,
    a history may be from any moments.
    """
    inference = infer(history, final)
    edges = list(inference.edges)
    later = [*_session_edges(inference), *_time_edges(inference)] if timed else []
    return [*inference.anomalies, *_cycles(inference.transactions, edges, later)]


def violations(anomalies: Iterable[Anomaly], *, serializable: bool) -> list[Anomaly]:
    """Those that an isolation level excludes: serializability, or snapshot isolation."""
    return [a for a in anomalies if serializable or not a.with_snapshots]


def _session_edges(inference: Inference) -> Iterator[Edge]:
    sessions: dict[str, list[tuple[int, Transaction]]] = {}
    for number, transaction in enumerate(inference.transactions):
        sessions.setdefault(transaction.session, []).append((number, transaction))
    for session, transactions in sessions.items():
        for a, b in after_in_time(transactions):
            yield Edge(a, b, SESSION, f"on {session}, it began when that had ended")


def _time_edges(inference: Inference) -> Iterator[Edge]:
    writers = [(number, t) for number, t in enumerate(inference.transactions) if t.writes]
    for a, b in after_in_time(writers):
        yield Edge(a, b, REALTIME, "it began when that had ended")


def _cycles(
    transactions: Sequence[Transaction], edges: list[Edge], later: list[Edge]
) -> Iterator[Anomaly]:
    """Simple causes first: what contains a cycle that was told is not told again."""
    told: list[set[int]] = []
    kinds = [{WW}, {WW, WR}, {WW, WR, RW}]
    if later:
        kinds += [{WW, WR, RW, SESSION}, {WW, WR, RW, SESSION, REALTIME}]
    for serializable in (False, True):
        for allowed in kinds:
            graph = _graph([e for e in [*edges, *later] if e.kind in allowed], serializable)
            for knot in graph.knots():
                members = {number for number, _ in knot}
                if any(cycle <= members for cycle in told):
                    continue
                found = [e for _, e, _ in graph.shortest_cycle(knot) if e is not None]
                told.append({edge.source for edge in found})
                yield _anomaly(transactions, found, with_snapshots=serializable)


def _graph(edges: Iterable[Edge], serializable: bool) -> Graph[Instant, Edge | None]:
    graph: Graph[Instant, Edge | None] = Graph()
    for edge in edges:
        if serializable:
            graph.add((edge.source, True), (edge.target, True), edge)
            continue
        for number in (edge.source, edge.target):
            graph.add((number, False), (number, True), None)
        graph.add((edge.source, edge.kind != RW), (edge.target, edge.kind in {RW, REALTIME}), edge)
    return graph


def _anomaly(
    transactions: Sequence[Transaction], cycle: list[Edge], *, with_snapshots: bool
) -> Anomaly:
    steps = [
        f"{transactions[e.target].name} after {transactions[e.source].name} ({e.kind}: {e.why})"
        for e in cycle
    ]
    who = tuple(transactions[edge.source] for edge in cycle)
    name = _name([edge.kind for edge in cycle])
    return Anomaly(name, "; ".join(steps), who, with_snapshots)


def _name(kinds: list[str]) -> str:
    count = kinds.count(RW)
    if not count:
        name = "G1c" if WR in kinds else "G0"
    elif count == 1:
        name = "G-single"
    elif any(one == RW == other for one, other in zip(kinds, kinds[1:] + kinds[:1], strict=True)):
        name = "G2"
    else:
        name = "G-nonadjacent"
    for suffix in (REALTIME, SESSION):
        if suffix in kinds:
            return f"{name}-{suffix}"
    return name
