"""As they are after the last migration."""

from __future__ import annotations

from django.db import models


class Shelf(models.Model):
    name = models.CharField(max_length=40, unique=True)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=80)
    slug = models.CharField(max_length=80, unique=True)
    cents = models.BigIntegerField(default=0)
    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)
    related = models.ManyToManyField("self")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(cents__gte=0), name="not_negative")
        ]
        indexes = [models.Index(fields=["title"], name="book_title")]

    def __str__(self) -> str:
        return self.title
