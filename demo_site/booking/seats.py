"""Booking a seat, so that none is ever sold twice.

Two people, two nodes, one seat, the same moment.  Two guards, either of which is enough:

* `select_for_update()` on the event, whose count of taken seats each booking changes.  Of two
  blocks that started from the same count, the first to commit wins; the other raises
  `TransactionConflict`, and `atomic_retry` runs it again on what the first one left.
* the unique constraint on (event, seat), checked by every node at the booking's place in the log.

Only the first is needed where people take any free seat, only the second where they point at one;
an application may well do as here and have both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo_site.booking.models import Booking, Event
from raftdjango.transaction import atomic_retry

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.contrib.auth.models import User

SEATS_PER_BOOKING_MAX = 6


class SeatsGone(Exception):
    """The seats asked for are not free; the message tells the user so."""


@atomic_retry
def book_seats(event_id: int, user: User, seats: Collection[int]) -> list[Booking]:
    """Take exactly these seats, or none of them."""
    event = Event.objects.select_for_update().get(pk=event_id)
    if not seats or not all(1 <= seat <= event.seats for seat in seats):
        raise SeatsGone(f"Choose seats from 1 to {event.seats}.")
    if taken := sorted(event.bookings.filter(seat__in=seats).values_list("seat", flat=True)):
        names = ", ".join(map(str, taken))
        raise SeatsGone(f"Somebody was faster: seat {names} is taken. Choose another.")
    return _take(event, user, seats)


@atomic_retry
def book_any_seats(event_id: int, user: User, count: int) -> list[Booking]:
    """Take the first `count` free seats, or none if so many are not left."""
    event = Event.objects.select_for_update().get(pk=event_id)
    taken = set(event.bookings.values_list("seat", flat=True))
    free = [seat for seat in range(1, event.seats + 1) if seat not in taken]
    if count < 1 or len(free) < count:
        raise SeatsGone(f"Only {len(free)} seats are left." if free else "Sold out.")
    return _take(event, user, free[:count])


@atomic_retry
def cancel(booking_id: int, user: User) -> Event:
    """Give one of the user's own seats back; `Booking.DoesNotExist` if it is not theirs."""
    booking = Booking.objects.get(pk=booking_id, user=user)
    event = Event.objects.select_for_update().get(pk=booking.event_id)
    booking.delete()
    event.seats_taken -= 1
    event.save(update_fields=["seats_taken"])
    return event


def _take(event: Event, user: User, seats: Collection[int]) -> list[Booking]:
    """Write the bookings and the event's new count; the caller holds the event."""
    event.seats_taken += len(seats)
    event.save(update_fields=["seats_taken"])
    return Booking.objects.bulk_create(
        [Booking(event=event, user=user, seat=seat) for seat in sorted(seats)]
    )
