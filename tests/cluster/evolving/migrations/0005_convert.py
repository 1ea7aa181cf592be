"""In steps of their own, each its own entry: what large tables are migrated like."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models

STEP = 200


def convert(apps: Any, editor: Any) -> None:
    books = apps.get_model("evolving", "Book").objects.using(editor.connection.alias)
    left = books.filter(cents=0).exclude(price=0)
    while keys := list(left.values_list("pk", flat=True)[:STEP]):
        books.filter(pk__in=keys).update(cents=models.F("price") * 100)


def convert_back(apps: Any, editor: Any) -> None:
    books = apps.get_model("evolving", "Book").objects.using(editor.connection.alias)
    books.update(price=models.F("cents") / 100.0)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("evolving", "0004_cents")]
    operations = [migrations.RunPython(convert, convert_back)]
