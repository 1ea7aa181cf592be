"""Rows that refer to themselves: what an action of a foreign key did to a row amid its own change.

A trigger notes a row when all is done that its change entails, so a row that follows its own key has
been noted as a follower before.  And an UPDATE OR REPLACE has read its row before the rows in its way
are deleted, which may change it in turn.  Either way the before-images do not follow from each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from raftdjango.backends.sqlite3.capture.triggers import DELETED, INSERTED, NEW, OLD, STATEMENT
from raftdjango.writeset import row_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from raftdjango.backends.sqlite3.capture.tables import TableSpec
    from raftdjango.writeset import Row, Table

    JournalRow = tuple[int | None, str, Row]
    Identity = tuple[str, Row]


@dataclass(slots=True)
class _Update:
    number: int
    table: Table
    old: Row
    new: Row
    noted: Row
    """What the trigger saw as its old row."""


def in_order(rows: Sequence[JournalRow], specs: Mapping[int, TableSpec]) -> Sequence[JournalRow]:
    """The journal's rows so that each update is of the row that the one before it has left."""
    if not any(spec.has_actions for spec in specs.values()):
        return rows
    return list(_Sequence(specs).of(rows))


class _Sequence:
    def __init__(self, specs: Mapping[int, TableSpec]) -> None:
        self._specs = specs
        self._steps: list[JournalRow | _Update] = []
        self._images: dict[Identity, Row | None] = {}
        """Rows as the steps so far leave them; None: deleted."""

    def of(self, rows: Sequence[JournalRow]) -> Iterator[JournalRow]:
        old: Row = ()
        for number, op, values in rows:
            if op == STATEMENT:
                self._images.clear()
            spec = None if number is None else self._specs.get(number)
            if number is None or spec is None or not spec.has_actions:
                self._steps.append((number, op, values))
                continue
            row = values[: len(spec.table.columns)]
            if op == OLD:
                old = row
            elif op == NEW:
                self._updated(_Update(number, spec.table, old, row, noted=old))
            else:
                self._steps.append((number, op, values))
                if op in {INSERTED, DELETED}:
                    self._images[_identity(spec.table, row)] = row if op == INSERTED else None
        for step in self._steps:
            if isinstance(step, _Update):
                yield step.number, OLD, step.old
                yield step.number, NEW, step.new
            else:
                yield step

    def _updated(self, update: _Update) -> None:
        at, to = _identity(update.table, update.old), _identity(update.table, update.new)
        known = self._images.get(at)
        stale = at in self._images and (known is None or not _same(known, update.old))
        if stale or (to != at and self._images.get(to) is not None):
            start = self._first_consequence(update)
            first = None if start is None else self._steps[start]
            if isinstance(first, _Update) and _identity(update.table, first.noted) == at:
                update.old = update.noted if first.old is first.noted else first.old
            elif known is not None:
                update.old = known
            if start is not None:
                self._fold(update, start)
        self._steps.append(update)
        self._images[at] = None
        self._images[_identity(update.table, update.new)] = update.new

    def _first_consequence(self, update: _Update) -> int | None:
        """Where the row was noted first as the update left it, if it was before the update."""
        found, first = None, update.new
        for place in range(len(self._steps) - 1, -1, -1):
            step = self._steps[place]
            if not isinstance(step, _Update):
                continue
            if found is not None and not _leaves(step, update.table, first):
                continue
            if _follows(step, update.table, update.new):
                found, first = place, step.noted
        return found

    def _fold(self, update: _Update, start: int) -> None:
        """Make one of the update and of what followed from it.

        One, and not two in their order: where SQLite's own actions are on when it is applied, they
        would do the second a first time.
        """
        kept: list[JournalRow | _Update] = []
        seen_as = update.new
        for step in self._steps[start:]:
            if isinstance(step, _Update) and _follows(step, update.table, seen_as):
                self._images.pop(_identity(step.table, step.noted), None)
                seen_as = step.new
            else:
                kept.append(step)
        update.new = seen_as
        self._steps[start:] = kept


def _follows(step: _Update, table: Table, row: Row) -> bool:
    return step.table.name == table.name and _same(step.noted, row)


def _leaves(step: _Update, table: Table, row: Row) -> bool:
    return step.table.name == table.name and _same(step.new, row)


def _identity(table: Table, row: Row) -> Identity:
    return table.name, table.key_of(row)


def _same(one: Row, other: Row) -> bool:
    return one == other and row_digest(one) == row_digest(other)
