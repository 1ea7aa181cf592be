"""Small models of the backend's tests."""

from __future__ import annotations

from django.db import models


class Account(models.Model):
    name = models.CharField(max_length=50, unique=True)
    balance = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Booking(models.Model):
    account = models.ForeignKey(Account, on_delete=models.CASCADE)
    amount = models.IntegerField(default=0)
    note = models.TextField(blank=True)


class Tag(models.Model):
    slug = models.SlugField(primary_key=True)
    accounts = models.ManyToManyField(Account, related_name="tags")


class Reading(models.Model):
    """Every storage class, and a column that the database computes."""

    number = models.FloatField(null=True)
    text = models.TextField(null=True)
    data = models.BinaryField(null=True)
    amount = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    at = models.DateTimeField(null=True)
    uuid = models.UUIDField(null=True)
    extra = models.JSONField(null=True)
    doubled = models.GeneratedField(
        expression=models.F("number") * 2, output_field=models.FloatField(), db_persist=True
    )


from tests.backend.blind_models import *  # noqa: E402, F403 - so that the app has them
