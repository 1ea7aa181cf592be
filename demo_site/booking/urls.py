"""URLs of the booking site."""

from __future__ import annotations

from django.urls import path

from demo_site.booking import kv, views

app_name = "booking"
urlpatterns = [
    path("", views.events, name="events"),
    path("cities/", views.cities, name="cities"),
    path("cities/<int:geoname_id>/", views.city, name="city"),
    path("events/<int:event_id>/", views.event, name="event"),
    path("events/<int:event_id>/book/", views.book, name="book"),
    path("bookings/", views.bookings, name="bookings"),
    path("bookings/<int:booking_id>/cancel/", views.cancel_booking, name="cancel"),
    path("sign-up/", views.sign_up, name="sign_up"),
    path("kv/", kv.page, name="kv"),
    path("kv/<path:key>", kv.pair, name="pair"),
]
