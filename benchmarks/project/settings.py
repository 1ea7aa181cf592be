"""Settings by environment: `BENCH_DATABASE` and `BENCH_RAFTDJANGO` are JSON."""

from __future__ import annotations

import json
import os

SECRET_KEY = "benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["rest_framework", "raftdjango", "benchmarks.project"]
DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
RAFTDJANGO = json.loads(os.environ.get("BENCH_RAFTDJANGO", "{}"))
LOGGING_CONFIG = None
