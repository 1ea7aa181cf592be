"""ON DELETE and ON UPDATE of foreign keys, for operations that were not executed before.

A captured transaction brings the rows that its actions changed.  A blind update or delete does not,
and SQLite's own actions are off while rows are applied (see `references`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftdjango.applier.faults import Refused
from raftdjango.applier.references import MESSAGE
from raftdjango.writeset import Verdict, VerdictKind

if TYPE_CHECKING:
    from raftdjango.applier.operations import Operations
    from raftdjango.applier.plans import Link, Plan
    from raftdjango.writeset import Row, Value

DEPTH_MAX = 250
"""Levels of keys that change because of other keys."""


def delete_with_actions(operations: Operations, plan: Plan, row: Row) -> None:
    """Delete a row and do what the foreign keys that refer to it say."""
    doomed = [(plan, row)]
    seen = {(plan.table.name, plan.table.key_of(row))}
    # Grows while it is walked: children of children, however deep.
    for parent, old in doomed:
        for link in parent.incoming:
            action = link.foreign_key.on_delete
            for child, child_row in _children(operations, link, old, action):
                identity = child.table.name, child.table.key_of(child_row)
                if identity in seen:
                    continue
                if action == "CASCADE":
                    seen.add(identity)
                    doomed.append((child, child_row))
                else:
                    changes = _cleared(operations, child, link, set_default=action == "SET DEFAULT")
                    update_with_actions(operations, child, child_row, changes)
    for parent, old in reversed(doomed):
        operations.delete_row(parent, old)
    for parent, old in doomed:
        check_restrictions(operations, parent, old)


def check_restrictions(operations: Operations, plan: Plan, old: Row) -> None:
    """ON DELETE RESTRICT of a row that is gone: nobody may wait for the entry's end."""
    for link in plan.incoming:
        values, foreign_key = link.values(old), link.foreign_key
        if foreign_key.on_delete != "RESTRICT" or values is None:
            continue
        if operations.select(foreign_key.child_sql, values):
            kind = VerdictKind.INTEGRITY_ERROR
            raise Refused(Verdict(kind, table=foreign_key.child, message=MESSAGE))


def update_with_actions(
    operations: Operations,
    plan: Plan,
    row: Row,
    changes: tuple[tuple[int, Value], ...],
    depth: int = 0,
) -> None:
    """Change a row and do what the foreign keys that refer to its old values say."""
    if depth > DEPTH_MAX:
        message = "too many levels of trigger recursion"
        raise Refused(Verdict(VerdictKind.OPERATIONAL_ERROR, message=message))
    new = operations.update_row(plan, row, changes)
    for link in plan.incoming:
        old_values, new_values = link.values(row), link.values(new)
        if old_values == new_values:
            continue
        action = link.foreign_key.on_update
        for child, child_row in _children(operations, link, row, action):
            if action == "CASCADE":
                places = _places(child, link)
                values = tuple(new[position] for position in link.positions)
                consequence = tuple(zip(places, values, strict=True))
            else:
                consequence = _cleared(operations, child, link, set_default=action == "SET DEFAULT")
            update_with_actions(operations, child, child_row, consequence, depth + 1)


def _children(operations: Operations, link: Link, old: Row, action: str) -> list[tuple[Plan, Row]]:
    """Rows that refer to an old row by a foreign key whose action changes them."""
    values = link.values(old)
    if action not in {"CASCADE", "SET NULL", "SET DEFAULT"} or values is None:
        return []
    child = operations.plan_of(link.foreign_key.child)
    if child is None or not child.table.key:
        return []
    sql = f"{child.select} WHERE {link.foreign_key.child_where}"
    return [(child, row) for row in operations.select(sql, values)]


def _places(child: Plan, link: Link) -> list[int]:
    names = [column.lower() for column in child.table.columns]
    return [names.index(column) for column in link.foreign_key.columns]


def _cleared(
    operations: Operations, child: Plan, link: Link, *, set_default: bool
) -> tuple[tuple[int, Value], ...]:
    declared = child.declared
    values: list[Value] = []
    for column in link.foreign_key.columns:
        default = declared.defaults.get(column) if set_default and declared else None
        values.append(operations.select(f"SELECT {default}")[0][0] if default else None)
    return tuple(zip(_places(child, link), values, strict=True))
