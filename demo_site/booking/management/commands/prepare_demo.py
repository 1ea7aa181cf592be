"""`manage.py prepare_demo`: what must be there before the demo's sites open."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

FIRST_CITIES = 500


class Command(BaseCommand):
    """Idempotent; runs on one node, through the log, so that all have it."""

    help = "Migrates, makes the user admin/admin, the largest cities and some events."

    def handle(self, *, verbosity: int, **options: Any) -> None:
        """Prepare."""
        call_command(
            "migrate", verbosity=max(verbosity - 1, 0), stdout=self.stdout, interactive=False
        )
        self.stdout.write("The database is migrated.")
        users = get_user_model()._default_manager
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", "admin@example.com", "admin")
            self.stdout.write("The user admin, with the password admin, is made.")
        call_command("import_cities", limit=FIRST_CITIES, stdout=self.stdout)
        call_command("seed_events", stdout=self.stdout)
