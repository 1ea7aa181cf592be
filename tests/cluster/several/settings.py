"""The cluster tests' project, with another replicated database and a plain one beside it."""

from pathlib import Path

from tests.cluster.project.settings import *  # noqa: F403

INSTALLED_APPS += ["tests.cluster.several"]  # noqa: F405
_folder = Path(DATABASES["default"]["NAME"]).parent  # noqa: F405
DATABASES |= {  # noqa: F405
    "ledger": {"ENGINE": "raftdjango.backends.sqlite3", "NAME": _folder / "ledger.sqlite3"},
    "plain": {"ENGINE": "django.db.backends.sqlite3", "NAME": _folder / "plain.sqlite3"},
}
for _database in DATABASES.values():
    _database["ATOMIC_REQUESTS"] = True
DATABASE_ROUTERS = [
    "tests.cluster.several.models.PlainRouter",
    "raftdjango.routers.ReplicatedRouter",
]
MIDDLEWARE = [
    "raftdjango.middleware.ReadYourWritesMiddleware",
    *MIDDLEWARE,  # noqa: F405
    "raftdjango.middleware.RetryMiddleware",
]
ROOT_URLCONF = "tests.cluster.several.views"
SCRIPTS = "tests.cluster.several.scripts"
