"""A column that the next migration fills."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("evolving", "0003_shelves")]
    operations = [migrations.AddField("Book", "cents", models.BigIntegerField(default=0))]
