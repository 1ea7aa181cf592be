"""Settings of every node of the demo: which node this is, `RAFTDJANGO_NODE_ID` says.

Of this file, four lines and two applications make the project replicated; they are marked.
"""

from __future__ import annotations

import os

from demo_site.layout import current_layout, demo_folder

_layout = current_layout()
_node_id = os.environ.get("RAFTDJANGO_NODE_ID") or "n1"
_folder = demo_folder() / _node_id

# Nothing in a demo on loopback is secret, and all nodes must share the key: one login serves all.
SECRET_KEY = "demo-only-never-use-this-key-for-anything-real"  # noqa: S105
DEBUG = bool(os.environ.get("DEMO_DEBUG"))
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",  # replicated
    "raftdjango",  # replicated
    "demo_site.booking",
]

# DEMO_ENGINE=django.db.backends.sqlite3 runs the same site on stock SQLite, to compare.
_engine = os.environ.get("DEMO_ENGINE") or "raftdjango.backends.sqlite3"

DATABASES = {"default": {"ENGINE": _engine, "NAME": _folder / "db.sqlite3"}}  # replicated
SILENCED_SYSTEM_CHECKS = ["raftdjango.W021"]  # `manage.py demo` makes the folder
RAFTDJANGO = {  # replicated
    "NODE_ID": _node_id,
    "NODES": {node_id: _layout.raft_url(node_id) for node_id in _layout.node_ids},
    "SECRET": "demo-only-what-nodes-sign-their-messages-with",
    "DATA_DIR": _folder / "raft",
}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "demo_site.booking.middleware.ClusterMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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
                "demo_site.booking.context.cluster",
            ]
        },
    }
]
ROOT_URLCONF = "demo_site.urls"
WSGI_APPLICATION = "demo_site.wsgi.application"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "booking:events"
LOGOUT_REDIRECT_URL = "booking:events"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}
