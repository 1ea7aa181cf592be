"""A column for old rows, filled by Python, then made unique: three shapes of the table."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


def fill(apps: Any, editor: Any) -> None:
    books = list(apps.get_model("evolving", "Book").objects.using(editor.connection.alias).all())
    for book in books:
        book.slug = f"{book.name}-{book.pk}"
    type(books[0]).objects.bulk_update(books, ["slug"]) if books else None


class Migration(migrations.Migration):
    dependencies = [("evolving", "0001_initial")]
    operations = [
        migrations.AddField("Book", "slug", models.CharField(max_length=80, null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField("Book", "slug", models.CharField(max_length=80, unique=True)),
    ]
