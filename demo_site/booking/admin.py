"""The booking site in the admin."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from demo_site.booking.models import Booking, City, Country, Event, Pair


@admin.register(Country)
class CountryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "code", "capital", "continent", "population")
    list_filter = ("continent",)
    search_fields = ("name", "code")


@admin.register(City)
class CityAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "country", "population", "timezone")
    list_select_related = ("country",)
    search_fields = ("folded_name", "name")
    autocomplete_fields = ("country",)


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("title", "kind", "city", "starts_at", "seats", "seats_taken")
    list_filter = ("kind",)
    list_select_related = ("city__country",)
    date_hierarchy = "starts_at"
    search_fields = ("title", "city__folded_name")
    autocomplete_fields = ("city",)
    readonly_fields = ("seats_taken",)


@admin.register(Booking)
class BookingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """For looking only: seats are booked and given back by `seats.py`, which keeps the count."""

    list_display = ("event", "seat", "user", "booked_at")
    list_select_related = ("event", "user")
    search_fields = ("event__title", "user__username")
    fields: ClassVar = ("event", "seat", "user", "booked_at")

    def has_add_permission(self, request: object) -> bool:
        return False

    def has_change_permission(self, request: object, obj: Booking | None = None) -> bool:
        return False

    def has_delete_permission(self, request: object, obj: Booking | None = None) -> bool:
        return False


@admin.register(Pair)
class PairAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("key", "value", "updated_at")
    search_fields = ("key", "value")
