"""Settings for the same tests on Django's own SQLite backend, to compare with."""

from __future__ import annotations

import django

DATABASES = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    for alias in ("default", "other")
}
SECRET_KEY = "django-suite"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
if django.VERSION < (6, 0):
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
TEST_RUNNER = "tests.django_suite.live.runner.CommittingRunner"
