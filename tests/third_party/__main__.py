"""Run applications' own tests on stock SQLite and on three nodes: `python -m tests.third_party [brief] [names]`.

They are fetched from PyPI, and installed into a folder of their own, when they are missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.django_suite.live.run import Process, run
from tests.sources import installed, sources
from tests.third_party.applications import (
    APPLICATION_VARIABLE,
    APPLICATIONS,
    WAY_VARIABLE,
    Application,
)

REPOSITORY = Path(__file__).resolve().parents[2]
BRIEF = "brief"


def main(arguments: list[str]) -> int:
    """Run the applications that are named, or all; the exit code."""
    names = [argument for argument in arguments if argument != BRIEF]
    if unknown := set(names) - APPLICATIONS.keys():
        print(f"Unknown: {', '.join(sorted(unknown))}.  There are {', '.join(APPLICATIONS)}.")
        return 2

    labels = {}
    for application in (APPLICATIONS[name] for name in names or APPLICATIONS):
        folder = sources(application.name, application.versions)
        tests = application.brief if BRIEF in arguments else application.labels
        labels[folder.name] = (folder, application, tests)

    def suite(label: str, way: str) -> Process:
        return process(*labels[label], way)

    return run("Third-party applications", suite, list(labels))


def process(folder: Path, application: Application, labels: Sequence[str], way: str) -> Process:
    """What runs these tests of the application's."""
    path = [folder, installed(folder), REPOSITORY, os.environ.get("PYTHONPATH", "")]
    # -P: the folder of what is started is not one of modules.
    started = [sys.executable, "-P", str(REPOSITORY / "tests" / "third_party" / "process.py")]
    return Process(
        [*started, *labels],
        folder,
        {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "DJANGO_SETTINGS_MODULE": "tests.third_party.settings",
            APPLICATION_VARIABLE: application.name,
            WAY_VARIABLE: way,
        },
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
