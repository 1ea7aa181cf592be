"""`manage.py seed_events`: events in large cities, so that there is something to book."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from demo_site.booking.models import City, Event

Kind = Event.Kind

PROGRAMME: list[tuple[Event.Kind, str, int, str]] = [
    (Kind.CONCERT, "Night of the Strings", 60, "A chamber orchestra plays by candlelight."),
    (Kind.TALK, "How machines agree", 24, "Votes, terms and logs, explained with lighthouses."),
    (Kind.CINEMA, "Open-air cinema", 80, "Bring a blanket. The film is chosen by the audience."),
    (Kind.SPORT, "Rooftop table tennis", 16, "Sixteen players, one table, one evening."),
    (Kind.THEATRE, "The Third Messenger", 48, "A comedy in which every letter arrives twice."),
    (Kind.CONCERT, "Brass in the Park", 100, "Loud, free of amplifiers, and good for dancing."),
    (Kind.CINEMA, "Silent films, live piano", 40, "Three reels, two of them restored this year."),
    (Kind.TALK, "Maps of places that moved", 30, "A cartographer on rivers, borders and mistakes."),
    (Kind.THEATRE, "A Quorum of Owls", 36, "A play for five voices, of which three are enough."),
    (Kind.SPORT, "Night run along the water", 70, "Ten kilometres, lanterns at every turn."),
    (Kind.CONCERT, "One Room, One Cello", 8, "Eight chairs. It sells out."),
]
HOURS = (18, 19, 20, 21)


class Command(BaseCommand):
    """Idempotent: does nothing while enough is on."""

    help = "Makes events in the largest cities, unless enough are on already."

    def add_arguments(self, parser: CommandParser) -> None:
        """The options."""
        parser.add_argument(
            "--count", type=int, default=96, help="how many should be on (default: %(default)s)"
        )

    def handle(self, *, count: int, **options: Any) -> None:
        """Fill up to `count`."""
        now = timezone.now()
        there = Event.objects.filter(starts_at__gte=now).count()
        if there >= count:
            self.stdout.write(f"{there} events are on; nothing to do.")
            return
        cities = list(City.objects.order_by("-population")[:count])
        if not cities:
            raise CommandError("There are no cities yet. Run: manage.py import_cities")
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        made = []
        for number in range(there, count):
            kind, title, seats, description = PROGRAMME[number % len(PROGRAMME)]
            starts_at = midnight + timedelta(
                days=1 + number * 60 // count, hours=HOURS[number % len(HOURS)]
            )
            made.append(
                Event(
                    # A stride that shares no factor with the number of cities reaches them all.
                    city=cities[number * 7 % len(cities)],
                    kind=kind,
                    title=title,
                    description=description,
                    seats=seats,
                    starts_at=starts_at,
                )
            )
        # Two nodes that seed at once make the same events, of which each is kept once.
        Event.objects.bulk_create(made, ignore_conflicts=True)
        self.stdout.write(self.style.SUCCESS(f"{len(made)} events made."))
