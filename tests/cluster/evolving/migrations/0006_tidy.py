"""Columns go and get other names; constraints and indexes come."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evolving", "0005_convert")]
    operations = [
        migrations.RemoveField("Book", "price"),
        migrations.RenameField("Book", "name", "title"),
        migrations.AddConstraint(
            "Book",
            models.CheckConstraint(condition=models.Q(cents__gte=0), name="not_negative"),
        ),
        migrations.AddIndex("Book", models.Index(fields=["title"], name="book_title")),
        migrations.AddField("Book", "related", models.ManyToManyField("evolving.Book")),
    ]
