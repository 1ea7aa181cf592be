"""The same project with its migrations squashed."""

from tests.cluster.evolving.settings import *  # noqa: F403

MIGRATION_MODULES = {"evolving": "tests.cluster.evolving.squashed.migrations"}
