"""The rules of booking: whole or not at all, and never one seat twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase

from demo_site.booking.models import Booking, Event
from demo_site.booking.seats import SeatsGone, book_any_seats, book_seats, cancel
from tests.demo.world import make_event, make_user


class SeatsTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.event = make_event(seats=4)
        cls.ana, cls.ben = make_user("ana"), make_user("ben")

    def taken(self) -> list[int]:
        """Seats booked, after a look that the event's count says the same."""
        seats = sorted(Booking.objects.filter(event=self.event).values_list("seat", flat=True))
        assert Event.objects.get(pk=self.event.pk).seats_taken == len(seats)
        return seats

    def test_picked_seats(self) -> None:
        booked = book_seats(self.event.pk, self.ana, [3, 2])
        assert [(b.seat, b.user) for b in booked] == [(2, self.ana), (3, self.ana)]
        assert self.taken() == [2, 3]

    def test_one_taken_seat_means_none(self) -> None:
        book_seats(self.event.pk, self.ana, [2])
        with pytest.raises(SeatsGone, match="seat 2 is taken"):
            book_seats(self.event.pk, self.ben, [1, 2])
        assert self.taken() == [2]

    def test_seats_that_are_not_there(self) -> None:
        for seats in ([], [0], [5], [1, 5]):
            with pytest.raises(SeatsGone, match="from 1 to 4"):
                book_seats(self.event.pk, self.ana, seats)
        assert self.taken() == []

    def test_any_seats_fill_gaps(self) -> None:
        book_seats(self.event.pk, self.ana, [1, 3])
        assert [b.seat for b in book_any_seats(self.event.pk, self.ben, 2)] == [2, 4]

    def test_more_than_are_left_means_none(self) -> None:
        book_any_seats(self.event.pk, self.ana, 3)
        with pytest.raises(SeatsGone, match="Only 1 seats"):
            book_any_seats(self.event.pk, self.ben, 2)
        book_any_seats(self.event.pk, self.ben, 1)
        with pytest.raises(SeatsGone, match="Sold out"):
            book_any_seats(self.event.pk, self.ben, 1)
        assert self.taken() == [1, 2, 3, 4]

    def test_cancelled_seat_is_free_again(self) -> None:
        (booking,) = book_seats(self.event.pk, self.ana, [2])
        cancel(booking.pk, self.ana)
        assert self.taken() == []
        with pytest.raises(Booking.DoesNotExist):
            cancel(booking.pk, self.ana)

    def test_nobody_cancels_for_others(self) -> None:
        (booking,) = book_seats(self.event.pk, self.ana, [2])
        with pytest.raises(Booking.DoesNotExist):
            cancel(booking.pk, self.ben)
        assert self.taken() == [2]

    def test_second_guard_holds_alone(self) -> None:
        """Code that forgets `seats.py` meets the constraints."""
        Booking.objects.create(event=self.event, seat=1, user=self.ana)
        with pytest.raises(IntegrityError), transaction.atomic():
            Booking.objects.create(event=self.event, seat=1, user=self.ben)
        with pytest.raises(IntegrityError), transaction.atomic():
            Event.objects.filter(pk=self.event.pk).update(seats_taken=5)


class RaceTests(TransactionTestCase):
    """Connections that book at the same moment, each on a snapshot of its own."""

    def race(self, attempts: int, book: Callable[[int], object]) -> list[str]:
        """What became of each attempt, made by threads that start together."""
        start = Barrier(attempts)

        def attempt(number: int) -> str:
            start.wait(30)
            try:
                book(number)
            except SeatsGone:
                return "gone"
            finally:
                connection.close()
            return "booked"

        with ThreadPoolExecutor(attempts) as threads:
            return sorted(threads.map(attempt, range(attempts)))

    def test_one_seat_has_one_owner(self) -> None:
        event, user = make_event(seats=4), make_user()
        results = self.race(6, lambda number: book_seats(event.pk, user, [3]))
        assert results == ["booked", *["gone"] * 5]
        assert Booking.objects.count() == 1

    def test_no_more_seats_than_there_are(self) -> None:
        event, user = make_event(seats=5), make_user()
        results = self.race(8, lambda number: book_any_seats(event.pk, user, 1))
        assert results == [*["booked"] * 5, *["gone"] * 3]
        seats = Booking.objects.order_by("seat").values_list("seat", flat=True)
        assert list(seats) == [1, 2, 3, 4, 5]
        assert Event.objects.get().seats_taken == 5
