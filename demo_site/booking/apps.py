"""The booking application."""

from __future__ import annotations

from django.apps import AppConfig


class BookingConfig(AppConfig):
    """Cities, events, seats, and a small key-value store."""

    name = "demo_site.booking"
    verbose_name = "Booking"
    default_auto_field = "django.db.models.BigAutoField"
