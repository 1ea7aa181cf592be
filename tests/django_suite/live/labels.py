"""The labels of Django's own suite that are run on a live cluster, and how."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.django_suite.live.run import Process, Suite

REPOSITORY = Path(__file__).resolve().parents[3]
LABELS = [
    "admin_changelist",
    "admin_inlines",
    "admin_views",
    "auth_tests",
    "backends",
    "basic",
    "bulk_create",
    "constraints",
    "contenttypes_tests",
    "custom_pk",
    "delete",
    "fixtures",
    "fixtures_regress",
    "force_insert_update",
    "generic_relations",
    "get_or_create",
    "m2m_intermediary",
    "m2m_multiple",
    "m2m_recursive",
    "m2m_regress",
    "m2m_signals",
    "m2m_through",
    "m2m_through_regress",
    "many_to_many",
    "many_to_one",
    "migrations",
    "raw_query",
    "schema",
    "select_for_update",
    "servers",
    "sessions_tests",
    "transaction_hooks",
    "transactions",
    "update",
    "update_only_fields",
]
BRIEF = ["get_or_create", "select_for_update", "transaction_hooks", "transactions", "update"]
"""Enough to notice that something is broken, in a minute."""


def asked(labels: Sequence[str]) -> Sequence[str]:
    """The labels that are meant."""
    return LABELS if not labels else BRIEF if list(labels) == ["brief"] else labels


def suite(folder: Path, options: Sequence[str]) -> Suite:
    """Each label in a run of `runtests.py` by itself."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])

    def process(label: str, way: str) -> Process:
        settings = f"tests.django_suite.live.{'stock' if way == 'stock' else 'settings'}"
        own = [f"--settings={settings}", "--parallel=1"]
        return Process(
            [sys.executable, "runtests.py", *own, *options, label],
            folder,
            {"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": settings},
        )

    return process
