"""Tables and rows by the names that people know: models and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Sequence


def model_label(table: str) -> str | None:
    """`app_label.Model` of a table; None where there is no such model (any more)."""
    if not table or not apps.models_ready:
        return None
    for model in apps.get_models(include_auto_created=True):
        if model._meta.db_table == table and not model._meta.proxy:
            return model._meta.label
    return None


def row_name(table: str, key: Sequence[Any]) -> str:
    """`booking.Seat 17`, or with the table's name where no model has it."""
    name = model_label(table) or table
    if not key:
        return name
    return f"{name} {key[0]!r}" if len(key) == 1 else f"{name} {tuple(key)!r}"
