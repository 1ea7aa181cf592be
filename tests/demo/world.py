"""A country, two cities, and events in them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from demo_site.booking.models import City, Country, Event


def make_country(code: str = "BR", name: str = "Brazil") -> Country:
    return Country.objects.create(code=code, name=name, continent="SA", capital="Brasília")


def make_city(name: str = "São Paulo", *, country: Country | None = None, **more: Any) -> City:
    number = City.objects.count() + 1
    fields = {"population": 1000 * number, "latitude": 0, "longitude": 0, "timezone": "UTC"}
    country = country or Country.objects.first() or make_country()
    return City.objects.create(geoname_id=number, name=name, country=country, **(fields | more))


def make_event(title: str = "Owls", *, seats: int = 10, days: int = 1, **more: Any) -> Event:
    return Event.objects.create(
        city=more.pop("city", None) or City.objects.first() or make_city(),
        kind=more.pop("kind", Event.Kind.TALK),
        title=title,
        seats=seats,
        starts_at=timezone.now() + timedelta(days=days),
        **more,
    )


def make_user(name: str = "ana") -> User:
    return User.objects.create_user(name, password=name)
