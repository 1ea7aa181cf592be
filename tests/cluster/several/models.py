"""An order in the first database, what it costs in the second, who looked in the third."""

from __future__ import annotations

from typing import Any

from django.db import models

from raftdjango.models import ReplicatedModel


class Order(models.Model):
    name = models.CharField(max_length=80, unique=True)
    changes = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Entry(ReplicatedModel):
    replicated_alias = "ledger"
    name = models.CharField(max_length=80, unique=True)
    changes = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Visit(models.Model):
    """On this machine only."""

    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name


class PlainRouter:
    """Visits to the plain database, and nothing else to it."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        return "plain" if model is Visit else None

    db_for_write = db_for_read

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        if model_name == "visit" or db == "plain":
            return model_name == "visit" and db == "plain"
        return None
