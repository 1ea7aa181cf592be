#!/usr/bin/env python
"""The demo site's command line."""

from __future__ import annotations

import os
import sys
import warnings


def main() -> None:
    """Run one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_site.settings")
    from django.core.management import execute_from_command_line

    # Models and migrations can be compared before the demo has ever run and has a database.
    warnings.filterwarnings(
        "ignore", r"Got an error checking a consistent migration history.*does not exist"
    )
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
