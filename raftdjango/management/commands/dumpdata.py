"""Django's `dumpdata`, less the tables that the product keeps for itself."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import dumpdata


class Command(dumpdata.Command):
    """As Django's.

    A whole dump leaves this application out: its tables say how far a node is, not what the project
    stores, and can be loaded nowhere.  The cluster's page in the admin has a model and no table.
    """

    def handle(self, *app_labels: str, **options: Any) -> Any:
        """Dump; applications that are asked for by name are dumped as ever."""
        ours = "raftdjango.Cluster" if app_labels else "raftdjango"
        options["exclude"] = [*(options.get("exclude") or ()), ours]
        return super().handle(*app_labels, **options)
