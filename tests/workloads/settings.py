"""Settings of one node under workloads: the project of the cluster tests, and the tables of ours."""

from __future__ import annotations

from importlib.util import find_spec

from tests.cluster.project.settings import *  # noqa: F403
from tests.cluster.project.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [*INSTALLED_APPS, "tests.workloads"]
ROOT_URLCONF = "tests.workloads.kinds.own_writes"
if find_spec("raftdjango.middleware") and find_spec("raftdjango.middleware.read_your_writes"):
    MIDDLEWARE = ["raftdjango.middleware.ReadYourWritesMiddleware", *MIDDLEWARE]
