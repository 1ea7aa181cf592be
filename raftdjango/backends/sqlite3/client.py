"""`manage.py dbshell`: the `sqlite3` program on this machine's file, which it cannot write.

What such a shell changed would be on this machine alone: no capture sees it, no entry carries it.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3 import client

if TYPE_CHECKING:
    from collections.abc import Iterable

READ_ONLY = "-readonly"
NOTICE = (
    "This shell is read-only and shows this machine's database: writes go through Django "
    "(manage.py shell).\n"
)


class DatabaseClient(client.DatabaseClient):
    """Django's, opened for reading."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], None]:
        """As Django has them, and read-only."""
        args, env = super().settings_to_cmd_args_env(settings_dict, parameters)
        return [args[0], READ_ONLY, *args[1:]], env

    def runshell(self, parameters: Iterable[str]) -> None:
        """Open it; where there is no such program, Django says so and there is nothing to explain."""
        if shutil.which(self.executable_name):
            # Not on stdout, which may be a pipe that wants rows.
            sys.stderr.write(NOTICE)
            sys.stderr.flush()
        super().runshell(parameters)
