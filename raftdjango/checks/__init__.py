"""System checks: every mistake in the settings at once, each with its remedy.

Importing this package registers them.  `conf.get_settings()` raises at the first mistake; here
nothing may raise, so the setting is read key by key, and what is wrong with one does not hide the
next.  Each id has a heading in docs/ref/checks.md.  Numbers are never used again: E001-E019
settings, E021-E039 databases, E041-E059 security, E061-E079 requests, and the same for warnings.
"""

from __future__ import annotations

from raftdjango.checks.databases import check_databases
from raftdjango.checks.folders import check_folders
from raftdjango.checks.middleware import check_middleware
from raftdjango.checks.security import check_deployment, check_secret
from raftdjango.checks.settings import check_settings

__all__ = [
    "check_databases",
    "check_deployment",
    "check_folders",
    "check_middleware",
    "check_secret",
    "check_settings",
]
