"""Settings for Django's own suite.  `runtests.py` adds the rest."""

from __future__ import annotations

import django

DATABASES = {
    alias: {
        "ENGINE": "raftdjango.backends.sqlite3",
        "NAME": f"django-suite-{alias}.sqlite3",
        "TEST": {"VERIFY": True},
    }
    for alias in ("default", "other")
}
SECRET_KEY = "django-suite"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
if django.VERSION < (6, 0):
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
