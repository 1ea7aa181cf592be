"""An application's own tests, in a process of its own, with what it was told in its environment.

Started as a file and not as a module, because there `tests` may be a package of the application's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> int:
    """Run the tests that are named on the command line; the exit code."""
    share_the_name()
    from tests.third_party.applications import APPLICATION_VARIABLE, APPLICATIONS

    application = APPLICATIONS[os.environ[APPLICATION_VARIABLE]]
    if application.configured:
        _configure()
    if application.pytest:
        import pytest

        # Neither a random order nor a folder left behind.
        own = ["-p", "tests.third_party.plugin", "-p", "no:randomly", "-p", "no:cacheprovider"]
        return pytest.main([*own, f"--ds={os.environ['DJANGO_SETTINGS_MODULE']}", *sys.argv[1:]])
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", "test", "--parallel=1", "--noinput", *sys.argv[1:]])
    return 0


def _configure() -> None:
    from django.conf import settings

    from tests.third_party import settings as module

    settings.configure(**{name: value for name, value in vars(module).items() if name.isupper()})


def share_the_name() -> None:
    """Where the application has a package `tests`, it comes first, and what it has not is ours."""
    import tests

    ours = str(Path(__file__).resolve().parents[1])
    if ours not in tests.__path__:
        tests.__path__.append(ours)


if __name__ == "__main__":
    sys.exit(main())
