"""The cluster tests' project, with the application that evolves."""

from tests.cluster.project.settings import *  # noqa: F403

INSTALLED_APPS += ["tests.cluster.evolving"]  # noqa: F405
SCRIPTS = "tests.cluster.evolving.scripts"
