"""What squashmigrations makes of them, with the functions in place and the steps that cancel out left in."""

from __future__ import annotations

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

slug = import_module("tests.cluster.evolving.migrations.0002_slug")
convert = import_module("tests.cluster.evolving.migrations.0005_convert")
NAMES = ["0001_initial", "0002_slug", "0003_shelves", "0004_cents", "0005_convert", "0006_tidy"]


class Migration(migrations.Migration):
    replaces = [("evolving", name) for name in NAMES]
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Book",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                ("price", models.FloatField(default=0)),
                ("slug", models.CharField(max_length=80, null=True)),
            ],
        ),
        migrations.RunPython(slug.fill, migrations.RunPython.noop),
        migrations.AlterField("Book", "slug", models.CharField(max_length=80, unique=True)),
        migrations.CreateModel(
            "Shelf",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=40, unique=True)),
            ],
        ),
        migrations.RunSQL(
            "INSERT INTO evolving_shelf (name) VALUES ('new')", "DELETE FROM evolving_shelf"
        ),
        migrations.AddField(
            "Book",
            "shelf",
            models.ForeignKey(
                "evolving.Shelf", on_delete=django.db.models.deletion.CASCADE, null=True
            ),
        ),
        migrations.AlterField(
            "Book",
            "shelf",
            models.ForeignKey("evolving.Shelf", on_delete=django.db.models.deletion.CASCADE),
        ),
        migrations.AddField("Book", "cents", models.BigIntegerField(default=0)),
        migrations.RunPython(convert.convert, convert.convert_back),
        migrations.RemoveField("Book", "price"),
        migrations.RenameField("Book", "name", "title"),
        migrations.AddConstraint(
            "Book",
            models.CheckConstraint(condition=models.Q(cents__gte=0), name="not_negative"),
        ),
        migrations.AddIndex("Book", models.Index(fields=["title"], name="book_title")),
        migrations.AddField("Book", "related", models.ManyToManyField("evolving.Book")),
    ]
