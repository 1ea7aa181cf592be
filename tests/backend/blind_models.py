"""Models for statements that go blind: every kind of field, and every kind of key."""

from __future__ import annotations

import enum
import uuid
from typing import Any

from django.db import models
from django.db.models.functions import Now


class Wrapped:
    """A value that only its field can turn into a key."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapped) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class WrappedAutoField(models.BigAutoField):  # type: ignore[type-arg]
    """An auto field whose Python values are not integers."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Wrapped | None:
        return None if value is None else Wrapped(value)

    def get_prep_value(self, value: Any) -> Any:
        if value is not None and not isinstance(value, Wrapped):
            raise TypeError(f"{value!r} is no key of this model")
        return super().get_prep_value(value and value.value)


class RawDateField(models.Field):  # type: ignore[type-arg]
    """Leaves all conversion to the driver, by its declared type."""

    def db_type(self, connection: Any) -> str:
        return "date"


class Level(models.IntegerChoices):
    LOW = 1
    HIGH = 2


class Colour(enum.StrEnum):
    RED = "red"


class Everything(models.Model):
    char = models.CharField(max_length=50, null=True)
    text = models.TextField(null=True)
    integer = models.IntegerField(null=True)
    big = models.BigIntegerField(null=True)
    level = models.SmallIntegerField(choices=Level, null=True)
    positive = models.PositiveIntegerField(null=True)
    flag = models.BooleanField(null=True)
    number = models.FloatField(null=True)
    amount = models.DecimalField(max_digits=20, decimal_places=5, null=True)
    day = models.DateField(null=True)
    at = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    took = models.DurationField(null=True)
    uuid = models.UUIDField(null=True)
    data = models.BinaryField(null=True)
    extra = models.JSONField(null=True)
    address = models.GenericIPAddressField(null=True)
    file = models.FileField(null=True)
    raw_day = RawDateField(null=True)
    doubled = models.GeneratedField(
        expression=models.F("integer") * 2, output_field=models.BigIntegerField(), db_persist=False
    )


class Stamped(models.Model):
    """`pre_save` has the last word."""

    name = models.CharField(max_length=20)
    changed = models.DateTimeField(auto_now=True)
    made = models.DateTimeField(auto_now_add=True)


class Defaulted(models.Model):
    """Columns that the database fills in, with a constant and with the time."""

    name = models.CharField(max_length=20, unique=True)
    size = models.IntegerField(db_default=7)
    word = models.CharField(max_length=20, db_default="it's")


class Dated(models.Model):
    name = models.CharField(max_length=20)
    at = models.DateTimeField(db_default=Now())


class OnlyKey(models.Model):
    pass


class WrappedKey(models.Model):
    id = WrappedAutoField(primary_key=True)
    name = models.CharField(max_length=20)


class NamedKey(models.Model):
    name = models.CharField(max_length=20, primary_key=True)
    value = models.TextField(default="")


class RandomKey(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    value = models.IntegerField(default=0)


class PairKey(models.Model):
    pk = models.CompositePrimaryKey("left", "right")
    left = models.IntegerField()
    right = models.CharField(max_length=20)
    value = models.IntegerField(default=0)


class Place(models.Model):
    name = models.CharField(max_length=20, unique=True)


class Restaurant(Place):
    stars = models.IntegerField(default=0)


class Visit(models.Model):
    place = models.ForeignKey(Place, on_delete=models.CASCADE, null=True)
    guests = models.ManyToManyField(OnlyKey)
