"""The same project with its migrations pruned."""

from tests.cluster.evolving.settings import *  # noqa: F403

MIGRATION_MODULES = {"evolving": "tests.cluster.evolving.pruned.migrations"}
