"""Cycles in graphs, against the plain definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.workloads.graph import Graph

EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda e: e[0] != e[1]))


def graph_of(edges: list[tuple[int, int]]) -> Graph[int, str]:
    graph: Graph[int, str] = Graph()
    for a, b in edges:
        graph.add(a, b, f"{a}-{b}")
    return graph


def distances(edges: list[tuple[int, int]], start: int) -> dict[int, int]:
    """Steps from a vertex to each that can be reached, itself only in a circle."""
    found: dict[int, int] = {}
    reached, steps = {start}, 0
    while True:
        steps += 1
        reached = {b for a, b in edges if a in reached}
        new = reached - found.keys()
        if not new:
            return found
        found.update(dict.fromkeys(new, steps))


@given(EDGES)
def test_knots_are_what_reaches_each_other(edges: list[tuple[int, int]]) -> None:
    reach = {v: distances(edges, v) for v in range(8)}
    expected = {
        frozenset({v, *(w for w in reach[v] if v in reach[w])}) for v in reach if v in reach[v]
    }
    assert {frozenset(knot) for knot in graph_of(edges).knots()} == expected


@given(EDGES)
def test_the_shortest_cycle_of_a_knot(edges: list[tuple[int, int]]) -> None:
    graph = graph_of(edges)
    for knot in graph.knots():
        cycle = graph.shortest_cycle(knot)
        assert len(cycle) == min(distances(edges, v)[v] for v in knot)
        assert [target for _, _, target in cycle] == [s for s, _, _ in cycle[1:] + cycle[:1]]
        assert all((s, t) in edges and label == f"{s}-{t}" for s, label, t in cycle)


def test_a_long_chain_is_no_matter_of_recursion() -> None:
    graph = graph_of([(n, n + 1) for n in range(50_000)] + [(50_000, 49_990)])
    (knot,) = graph.knots()
    assert len(graph.shortest_cycle(knot)) == 11
