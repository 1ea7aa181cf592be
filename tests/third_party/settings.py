"""An application's own settings, with other databases."""

from __future__ import annotations

import os

from tests.django_suite.live import settings as node
from tests.django_suite.live.run import LIVE
from tests.third_party.applications import APPLICATION_VARIABLE, APPLICATIONS, WAY_VARIABLE

_theirs = APPLICATIONS[os.environ[APPLICATION_VARIABLE]].settings()
_aliases = list(_theirs["DATABASES"])
globals().update(_theirs)
# For speed, as Django's documentation advises.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if os.environ[WAY_VARIABLE] == LIVE:
    # What the README asks of a project.
    DATABASES = {alias: node.DATABASES[alias] for alias in _aliases}
    RAFTDJANGO = node.RAFTDJANGO
    INSTALLED_APPS = [*_theirs["INSTALLED_APPS"], "rest_framework", "raftdjango"]
    TEST_RUNNER = "tests.django_suite.live.runner.LiveRunner"
else:
    DATABASES = {
        alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in _aliases
    }
    TEST_RUNNER = "tests.django_suite.live.runner.CommittingRunner"
