"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig


class RaftDjangoConfig(AppConfig):
    """Registers checks; starts no thread and opens no socket."""

    name = "raftdjango"
    verbose_name = "Raft cluster"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        import raftdjango.checks  # noqa: F401
