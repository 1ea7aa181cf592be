"""Settings of the nodes, and of `runtests.py` that uses one of them; both are told by `CLUSTER_NODE`."""

from __future__ import annotations

import json
import os

import django

ALIASES = ("default", "other")

NODE = json.loads(os.environ.get("CLUSTER_NODE", "{}"))
"""What the cluster tells its processes: this node's databases, those of all, and `RAFTDJANGO`."""

_databases = NODE.get("databases", dict.fromkeys(ALIASES, "unused.sqlite3"))
DATABASES = {
    alias: {
        "ENGINE": "raftdjango.backends.sqlite3",
        "NAME": _databases[alias],
        # The very file of the node: nobody else would apply to another.
        "TEST": {"NAME": _databases[alias]},
    }
    for alias in ALIASES
}
RAFTDJANGO = NODE.get("raftdjango", {})
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    "raftdjango",
]
"""Of the nodes, which know none of the models of Django's tests; `runtests.py` brings its own."""
SECRET_KEY = "django-suite"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
if django.VERSION < (6, 0):
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
TEST_RUNNER = "tests.django_suite.live.runner.LiveRunner"
