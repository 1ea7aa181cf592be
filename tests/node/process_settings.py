"""Settings of the raftnode processes that tests start; what differs comes by environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

_FOLDER = Path(os.environ["NODE_TEST_FOLDER"])
SECRET_KEY = "tests"
INSTALLED_APPS = ["rest_framework", "raftdjango"]
DATABASES = {
    "default": {"ENGINE": "raftdjango.backends.sqlite3", "NAME": _FOLDER / "db.sqlite3"},
}
RAFTDJANGO = {
    "DATA_DIR": _FOLDER / "raft",
    **json.loads(os.environ.get("NODE_TEST_SETTINGS", "{}")),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
