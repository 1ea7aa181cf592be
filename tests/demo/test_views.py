"""The pages, by what a visitor sees and does."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

from django.contrib.auth.models import User
from django.test import TestCase
from django.urls import reverse

from demo_site.booking.models import Booking, Event
from demo_site.booking.seats import book_seats
from raftdjango.exceptions import ClusterUnavailable, CommitUncertain, TransactionConflict
from tests.demo.world import make_city, make_event, make_user
from tests.operator.fakes import LEADER_STATUS, raftnode_says


class PagesTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.city = make_city("São Paulo")
        cls.quiet_city = make_city("Quito")
        cls.event = make_event("A Quorum of Owls", city=cls.city, seats=3)
        cls.past = make_event("Yesterday", city=cls.city, days=-1)
        cls.ana = make_user("ana")

    def text(self, url: str, status: int = 200) -> str:
        response = self.client.get(url)
        assert response.status_code == status, response.status_code
        return response.content.decode()

    def book(self, **data: Any) -> str:
        url = reverse("booking:book", args=[self.event.pk])
        response = self.client.post(url, data, follow=True)
        assert response.status_code == 200
        return response.content.decode()

    def test_list_shows_what_is_on(self) -> None:
        page = self.text(reverse("booking:events"))
        assert "A Quorum of Owls" in page
        assert "Yesterday" not in page
        assert "last 3" in page

    def test_search_by_city_without_accents_title_and_kind(self) -> None:
        url = reverse("booking:events")
        for found in (
            "?q=sao+paulo",
            "?q=QUORUM",
            "?kind=talk",
            "?q=owls&kind=talk",
            "?kind=nonsense",
        ):
            assert "A Quorum of Owls" in self.text(url + found), found
        for missed in ("?q=quito", "?q=owls&kind=sport"):
            assert "A Quorum of Owls" not in self.text(url + missed), missed

    def test_all_kinds_is_one_click_away(self) -> None:
        """An empty link would lead to the page that one is on."""
        page = self.text(reverse("booking:events") + "?kind=talk")
        assert re.search(r'class="chip" href="/\??">All<', page)

    def test_cities(self) -> None:
        page = self.text(reverse("booking:cities") + "?q=sao")
        assert "São Paulo" in page
        assert "Quito" not in page
        assert "No city found" in self.text(reverse("booking:cities") + "?q=nowhere")
        assert "A Quorum of Owls" in self.text(self.city.get_absolute_url())
        assert "Nothing is on here yet" in self.text(self.quiet_city.get_absolute_url())
        self.text("/cities/999/", 404)

    def test_search_text_is_escaped(self) -> None:
        assert "<script>alert" not in self.text(
            reverse("booking:events") + "?q=<script>alert(1)</script>"
        )

    def test_visitor_is_asked_to_log_in_and_comes_back(self) -> None:
        assert "Log in to book" in self.text(self.event.get_absolute_url())
        response = self.client.post(reverse("booking:book", args=[self.event.pk]), {"how": "any"})
        assert response.headers["Location"] == f"/login/?next={self.event.get_absolute_url()}"
        data = {"username": "ana", "password": "ana", "next": self.event.get_absolute_url()}
        assert self.client.post(reverse("login"), data).headers["Location"] == data["next"]

    def test_book_picked_seats_and_see_them(self) -> None:
        self.client.force_login(self.ana)
        page = self.book(how="picked", seat=["1", "3"])
        assert "Yours: seats 1, 3 of A Quorum of Owls." in page
        assert Booking.objects.filter(user=self.ana).count() == 2
        seats = self.text(self.event.get_absolute_url())
        assert seats.count('class="seat mine"') == 2 + 1  # and one in the legend

    def test_book_any(self) -> None:
        self.client.force_login(self.ana)
        assert "Yours: seat 1 of" in self.book(how="any", count="1")

    def test_seat_taken_meanwhile(self) -> None:
        book_seats(self.event.pk, make_user("ben"), [2])
        self.client.force_login(self.ana)
        assert "seat 2 is taken" in self.book(how="picked", seat=["2"])

    def test_nonsense_is_answered_in_words(self) -> None:
        self.client.force_login(self.ana)
        assert "Pick a seat" in self.book(how="picked")
        assert "how many" in self.book(how="any")
        for data in (
            {},
            {"how": "x"},
            {"how": "picked", "seat": "99"},
            {"how": "any", "count": "-1"},
        ):
            assert 'class="error"' in self.book(**data), data
        assert Booking.objects.count() == 0

    def test_past_event(self) -> None:
        self.client.force_login(self.ana)
        url = reverse("booking:book", args=[self.past.pk])
        response = self.client.post(url, {"how": "any", "count": 1}, follow=True)
        assert "This event is over." in response.content.decode()

    def test_cancel(self) -> None:
        (booking,) = book_seats(self.event.pk, self.ana, [1])
        self.client.force_login(make_user("ben"))
        url = reverse("booking:cancel", args=[booking.pk])
        assert self.client.post(url).status_code == 404
        self.client.force_login(self.ana)
        assert "is free again" in self.client.post(url, follow=True).content.decode()
        assert Event.objects.get(pk=self.event.pk).seats_taken == 0

    def test_sign_up(self) -> None:
        password = "correct horse battery"
        data = {"username": "cleo", "password1": password, "password2": password}
        self.client.post(reverse("booking:sign_up"), data)
        assert self.text(reverse("booking:bookings"))
        assert User.objects.filter(username="cleo").exists()

    def test_changes_need_a_post(self) -> None:
        self.client.force_login(self.ana)
        for name in ("booking:book", "booking:cancel"):
            assert self.client.get(reverse(name, args=[1])).status_code == 405


class FooterTests(TestCase):
    def footer(self, status: dict[str, Any] | None) -> str:
        with raftnode_says(status):
            page = self.client.get(reverse("booking:cities")).content.decode()
        return " ".join(page.split("<footer")[1].split())

    def test_node_leader_and_applied_index(self) -> None:
        footer = self.footer({**LEADER_STATUS, "leader": "n3"})
        assert "<strong data-node>n1</strong>" in footer
        assert "<strong data-leader>n3</strong>" in footer
        assert "<strong data-applied>" in footer

    def test_no_leader(self) -> None:
        assert "no leader now" in self.footer({**LEADER_STATUS, "leader": None})

    def test_raftnode_does_not_answer(self) -> None:
        footer = self.footer(None)
        assert "raftnode does not answer" in footer
        assert "/x/node.sock" in footer

    def test_header(self) -> None:
        assert self.client.get("/kv/nothing").headers["X-Raft-Node"] == "n1"


class UnavailableTests(TestCase):
    """A cluster that cannot write now is explained, not shown as a broken site."""

    def explained(self, error: Exception, words: str) -> None:
        with mock.patch("demo_site.booking.views.render", side_effect=error):
            response = self.client.get(reverse("booking:events"))
        assert response.status_code == 503
        assert words in response.content.decode()
        assert response.headers["Retry-After"] == "1"

    def test_page(self) -> None:
        self.explained(ClusterUnavailable("no majority"), "Nothing was written")
        error = CommitUncertain("lost touch", resolver=lambda timeout_s: None)
        self.explained(error, "It may have been written")

    def test_the_reason_is_the_one_that_the_backend_gives(self) -> None:
        """A raftnode that is down here is no matter of majorities, and its message has the remedy."""
        down = ClusterUnavailable(
            "Nothing was written: no raftnode; start it with: manage.py raftnode"
        )
        with mock.patch("demo_site.booking.views.render", side_effect=down):
            page = self.client.get(reverse("booking:events")).content.decode()
        assert "No raftnode; start it with: manage.py raftnode" in page
        assert "few nodes" not in page
        assert page.count("Nothing was written") == 2, "in the title and in the heading, no more"
        with mock.patch("demo_site.booking.kv.put", side_effect=down):
            response = self.client.post("/kv/a", b"b", content_type="text/plain")
        assert response.status_code == 503
        assert response.json() == {"error": "ClusterUnavailable", "detail": str(down)}

    def test_a_form_of_a_page_is_answered_with_a_page(self) -> None:
        down = ClusterUnavailable("Nothing was written: no majority")
        with mock.patch("demo_site.booking.kv.put", side_effect=down):
            response = self.client.post("/kv/", {"key": "a", "value": "b"})
        assert response.status_code == 503
        assert response.headers["Content-Type"].startswith("text/html")

    def test_nothing_is_said_twice(self) -> None:
        lost = TransactionConflict(
            "Another transaction changed booking.Event 3 first. Nothing was written; run it again."
        )
        with mock.patch("demo_site.booking.views.render", side_effect=lost):
            page = self.client.get(reverse("booking:events")).content.decode()
        assert '<p class="soft">Another transaction changed booking.Event 3 first.</p>' in page
        assert page.count("Nothing was written") == 2, "in the title and in the heading"

    def test_session_that_cannot_be_saved(self) -> None:
        """The session is written after the view, where only the last resort sees it."""
        self.client.raise_request_exception = False
        user = make_user()
        error = ClusterUnavailable("no majority")
        with mock.patch("django.contrib.sessions.backends.db.SessionStore.save", side_effect=error):
            data = {"username": user.username, "password": "ana"}
            response = self.client.post(reverse("login"), data)
        assert response.status_code == 503
        assert "Nothing was written" in response.content.decode()
