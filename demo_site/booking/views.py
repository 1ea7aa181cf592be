"""Pages of the booking site.  They read this node's own database and write through the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.defaults import server_error as plain_server_error

from demo_site.booking.forms import SeatsForm
from demo_site.booking.middleware import unavailable
from demo_site.booking.models import Booking, City, Event, fold
from demo_site.booking.seats import (
    SEATS_PER_BOOKING_MAX,
    SeatsGone,
    book_any_seats,
    book_seats,
    cancel,
)

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

EVENTS_PER_PAGE = 24
CITIES_PER_PAGE = 30


def _upcoming() -> QuerySet[Event]:
    return Event.objects.filter(starts_at__gte=timezone.now()).select_related("city__country")


@require_GET
def events(request: HttpRequest) -> HttpResponse:
    """The first page: what is on, and where."""
    query = request.GET.get("q", "").strip()
    kind = request.GET.get("kind", "")
    found = _upcoming()
    if query:
        in_cities = City.objects.filter(folded_name__contains=fold(query))
        found = found.filter(title__icontains=query) | found.filter(city__in=in_cities)
    if kind in Event.Kind:
        found = found.filter(kind=kind)
    page = Paginator(found, EVENTS_PER_PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "query": query, "kind": kind, "kinds": Event.Kind.choices}
    return render(request, "booking/events.html", context)


@require_GET
def cities(request: HttpRequest) -> HttpResponse:
    """Search among all cities; the largest first."""
    query = request.GET.get("q", "").strip()
    found = City.objects.select_related("country")
    if query:
        found = found.filter(folded_name__contains=fold(query)) | found.filter(
            country__name__icontains=query
        )
    page = Paginator(found, CITIES_PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "booking/cities.html", {"page": page, "query": query})


@require_GET
def city(request: HttpRequest, geoname_id: int) -> HttpResponse:
    """One city and what is on there."""
    shown = get_object_or_404(City.objects.select_related("country"), pk=geoname_id)
    context = {"city": shown, "events": _upcoming().filter(city=shown)}
    return render(request, "booking/city.html", context)


@require_GET
def event(request: HttpRequest, event_id: int) -> HttpResponse:
    """One event with its seats."""
    shown = get_object_or_404(Event.objects.select_related("city__country"), pk=event_id)
    owners = dict(shown.bookings.values_list("seat", "user_id"))
    mine = request.user.pk
    seats = [
        {"number": number, "state": _seat_state(owners.get(number), mine)}
        for number in range(1, shown.seats + 1)
    ]
    context = {
        "event": shown,
        "seats": seats,
        "over": shown.starts_at < timezone.now(),
        "counts": range(1, min(SEATS_PER_BOOKING_MAX, shown.seats_left) + 1),
        "seats_max": SEATS_PER_BOOKING_MAX,
    }
    return render(request, "booking/event.html", context)


def _seat_state(owner: int | None, user_id: int | None) -> str:
    if owner is None:
        return "free"
    return "mine" if owner == user_id else "taken"


@require_POST
def book(request: HttpRequest, event_id: int) -> HttpResponse:
    """Book the seats picked on the plan, or any."""
    shown = get_object_or_404(Event, pk=event_id)
    if not isinstance(request.user, User):
        return redirect_to_login(shown.get_absolute_url())
    form = SeatsForm(request.POST, seats=shown.seats)
    if shown.starts_at < timezone.now():
        messages.error(request, "This event is over.")
        return redirect(shown)
    if not form.is_valid():
        messages.error(request, form.problem())
        return redirect(shown)
    try:
        if form.cleaned_data["how"] == "any":
            booked = book_any_seats(shown.pk, request.user, form.cleaned_data["count"])
        else:
            booked = book_seats(shown.pk, request.user, form.cleaned_data["seat"])
    except SeatsGone as gone:
        messages.error(request, str(gone))
        return redirect(shown)
    numbers = ", ".join(str(booking.seat) for booking in booked)
    word = "seat" if len(booked) == 1 else "seats"
    messages.success(request, f"Yours: {word} {numbers} of {shown.title}.")
    return redirect("booking:bookings")


@require_GET
@login_required
def bookings(request: HttpRequest) -> HttpResponse:
    """The user's own seats."""
    mine = Booking.objects.filter(user=request.user.pk).select_related("event__city__country")
    return render(request, "booking/bookings.html", {"bookings": mine})


@require_POST
@login_required
def cancel_booking(request: HttpRequest, booking_id: int) -> HttpResponse:
    """Give a seat back."""
    assert isinstance(request.user, User)
    try:
        freed = cancel(booking_id, request.user)
    except Booking.DoesNotExist:
        raise Http404("You have no such booking.") from None
    messages.success(request, f"Your seat at {freed.title} is free again.")
    return redirect("booking:bookings")


@require_http_methods(["GET", "HEAD", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """Make an account, which every node knows at once."""
    form: UserCreationForm[Any] = UserCreationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.save())
        return redirect("booking:events")
    return render(request, "registration/sign_up.html", {"form": form})


def server_error(request: HttpRequest) -> HttpResponse:
    """The last resort; explains a write that failed outside a view, such as a session's."""
    return unavailable(request, sys.exception()) or plain_server_error(request)
