"""One table of ten columns and one extra index, as the published baselines of the peers use."""

from __future__ import annotations

import uuid

from django.db import models


class Item(models.Model):
    """Something ordinary."""

    owner = models.IntegerField(db_index=True)
    name = models.CharField(max_length=80)
    note = models.TextField(default="")
    token = models.UUIDField(default=uuid.uuid4)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    weight = models.FloatField(default=1.5)
    active = models.BooleanField(default=True)
    count = models.IntegerField(default=0)
    created = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
