"""Cities, the events in them, and the seats that people book.

Plain Django models: nothing here knows that the database is replicated.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse

if TYPE_CHECKING:
    from collections.abc import Iterable

SEATS_MAX = 500


def fold(text: str) -> str:
    """Lower case without accents, so that a search for `sao paulo` finds São Paulo."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).strip()


class Country(models.Model):
    """A country, by its ISO 3166 code."""

    code = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=80)
    capital = models.CharField(max_length=80, blank=True)
    continent = models.CharField(max_length=2)
    population = models.PositiveBigIntegerField(default=0)
    currency = models.CharField(max_length=3, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name_plural = "countries"

    def __str__(self) -> str:
        return self.name


class City(models.Model):
    """A city of more than 15,000 people; its key is its number at geonames.org."""

    geoname_id = models.PositiveIntegerField(primary_key=True)
    name = models.CharField(max_length=200)
    folded_name = models.CharField(max_length=200, db_index=True, editable=False)
    country = models.ForeignKey(Country, on_delete=models.PROTECT, related_name="cities")
    latitude = models.FloatField()
    longitude = models.FloatField()
    population = models.PositiveIntegerField(default=0, db_index=True)
    timezone = models.CharField(max_length=40)

    class Meta:
        ordering: ClassVar = ["-population", "name"]
        verbose_name_plural = "cities"

    def __str__(self) -> str:
        return f"{self.name}, {self.country.name}"

    def save(self, *, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Keep the name that is searched in step with the name that is shown."""
        self.folded_name = fold(self.name)
        if update_fields is not None:
            update_fields = {*update_fields, "folded_name"}
        super().save(update_fields=update_fields, **kwargs)

    def get_absolute_url(self) -> str:
        """The city's page."""
        return reverse("booking:city", args=[self.pk])


class Event(models.Model):
    """Something to go to, with a limited number of seats."""

    class Kind(models.TextChoices):
        """What sort of evening it is."""

        CONCERT = "concert", "Concert"
        THEATRE = "theatre", "Theatre"
        CINEMA = "cinema", "Cinema"
        TALK = "talk", "Talk"
        SPORT = "sport", "Sport"

    city = models.ForeignKey(City, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    title = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    starts_at = models.DateTimeField(db_index=True)
    seats = models.PositiveIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(SEATS_MAX)]
    )
    seats_taken = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering: ClassVar = ["starts_at", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="event_not_oversold",
                condition=models.Q(seats_taken__lte=models.F("seats")),
                violation_error_message="More seats are booked than that.",
            ),
            models.UniqueConstraint(fields=["city", "title", "starts_at"], name="event_once"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """The event's page."""
        return reverse("booking:event", args=[self.pk])

    @property
    def seats_left(self) -> int:
        """Seats that can still be booked."""
        return self.seats - self.seats_taken


class Booking(models.Model):
    """One seat of one event, taken by one user."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="bookings")
    seat = models.PositiveIntegerField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="bookings"
    )
    booked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["event__starts_at", "event", "seat"]
        constraints: ClassVar = [
            # Checked at the booking's place in the log: whatever two nodes believed when they
            # began, one of them gets the seat.
            models.UniqueConstraint(fields=["event", "seat"], name="seat_sold_once"),
        ]

    def __str__(self) -> str:
        return f"Seat {self.seat} of {self.event}"


class Pair(models.Model):
    """A key and its value."""

    key = models.CharField(max_length=200, primary_key=True)
    value = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["key"]
        verbose_name = "key-value pair"

    def __str__(self) -> str:
        return self.key
