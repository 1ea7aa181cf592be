from __future__ import annotations

from importlib import import_module

squashed = import_module("tests.cluster.evolving.squashed.migrations.0001_squashed_0006_tidy")


class Migration(squashed.Migration):
    replaces = []
