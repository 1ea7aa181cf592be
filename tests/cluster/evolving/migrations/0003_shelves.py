"""SQL by hand: a table's rows, and what depends on the moment."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evolving", "0002_slug")]
    operations = [
        migrations.CreateModel(
            "Shelf",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=40, unique=True)),
            ],
        ),
        migrations.RunSQL(
            [
                "INSERT INTO evolving_shelf (name) VALUES ('new')",
                (
                    "INSERT INTO evolving_shelf (name) VALUES (%s || lower(hex(randomblob(4))))",
                    ["by chance "],
                ),
            ],
            "DELETE FROM evolving_shelf",
        ),
        migrations.AddField(
            "Book",
            "shelf",
            models.ForeignKey(
                "evolving.Shelf", on_delete=django.db.models.deletion.CASCADE, null=True
            ),
        ),
        migrations.RunSQL(
            "UPDATE evolving_book SET shelf_id = (SELECT min(id) FROM evolving_shelf)",
            migrations.RunSQL.noop,
        ),
        migrations.AlterField(
            "Book",
            "shelf",
            models.ForeignKey("evolving.Shelf", on_delete=django.db.models.deletion.CASCADE),
        ),
    ]
