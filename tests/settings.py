"""Settings of the test suite: two replicated aliases in test mode, and one plain one."""

from __future__ import annotations

import tempfile
from pathlib import Path

SHM = Path("/dev/shm")
FOLDER = Path(tempfile.gettempdir())
TEST_FOLDER = SHM if SHM.is_dir() else FOLDER

SECRET_KEY = "tests"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "raftdjango",
    "tests.backend",
    "demo_site.booking",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _database(name: str, engine: str = "raftdjango.backends.sqlite3") -> dict[str, object]:
    return {
        "ENGINE": engine,
        "NAME": FOLDER / f"raftdjango-tests-{name}.db",
        # The applier compares the tables after each write with what capture saw of it.
        "TEST": {"VERIFY": True},
    }


DATABASES = {
    "default": _database("default"),
    "other": _database("other"),
    "plain": _database("plain", "django.db.backends.sqlite3"),
}
RAFTDJANGO: dict[str, object] = {}
