"""Cycles in directed graphs: where there are any, and the shortest through each knot."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)
L = TypeVar("L")

STARTS_MAX = 200
"""From how many vertices of one knot the shortest cycle is searched: the search of all is quadratic."""


@dataclass
class Graph(Generic[V, L]):
    """Vertices, and labelled edges between them; of parallel edges the first one's label stays."""

    following: dict[V, dict[V, L]] = field(default_factory=dict)

    def add(self, source: V, target: V, label: L) -> None:
        self.following.setdefault(target, {})
        self.following.setdefault(source, {}).setdefault(target, label)

    def knots(self) -> Iterator[set[V]]:
        """Strongly connected components of more than one vertex (Tarjan, 1972, without recursion)."""
        number: dict[V, int] = {}
        lowest: dict[V, int] = {}
        pending: list[V] = []
        is_pending: set[V] = set()
        for root in self.following:
            if root in number:
                continue
            path = [(root, iter(self.following[root]))]
            number[root] = lowest[root] = len(number)
            pending.append(root)
            is_pending.add(root)
            while path:
                at, rest = path[-1]
                for following in rest:
                    if following not in number:
                        number[following] = lowest[following] = len(number)
                        pending.append(following)
                        is_pending.add(following)
                        path.append((following, iter(self.following[following])))
                        break
                    if following in is_pending:
                        lowest[at] = min(lowest[at], number[following])
                else:
                    path.pop()
                    if path:
                        above = path[-1][0]
                        lowest[above] = min(lowest[above], lowest[at])
                    if lowest[at] == number[at]:
                        cut = _last(pending, at)
                        knot = set(pending[cut:])
                        del pending[cut:]
                        is_pending -= knot
                        if len(knot) > 1:
                            yield knot

    def shortest_cycle(self, knot: set[V]) -> list[tuple[V, L, V]]:
        """The edges of a shortest cycle that stays within a knot."""
        best: list[tuple[V, L, V]] = []
        for start in sorted(knot, key=repr)[:STARTS_MAX]:
            found = self._back_to(start, knot)
            if not best or len(found) < len(best):
                best = found
        return best

    def _back_to(self, start: V, among: set[V]) -> list[tuple[V, L, V]]:
        came_from: dict[V, V] = {}
        queue = deque([start])
        while queue:
            at = queue.popleft()
            for following in self.following[at]:
                if following == start:
                    return self._edges([*_path(came_from, start, at), start])
                if following in among and following not in came_from:
                    came_from[following] = at
                    queue.append(following)
        raise AssertionError("a knot has a cycle through each of its vertices")

    def _edges(self, vertices: list[V]) -> list[tuple[V, L, V]]:
        return [
            (source, self.following[source][target], target)
            for source, target in pairwise(vertices)
        ]


def _path(came_from: dict[V, V], start: V, end: V) -> list[V]:
    path = [end]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _last(items: list[V], wanted: V) -> int:
    """Where an item stands that is nearer to the end than to the beginning."""
    return next(at for at in range(len(items) - 1, -1, -1) if items[at] == wanted)
