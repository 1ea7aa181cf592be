"""Run applications' own tests on stock SQLite and on three nodes: `python -m tests.third_party [brief] [names]`.

They are fetched from PyPI, and installed into a folder of their own, when they are missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.django_suite.live.run import Process, run
from tests.sources import installed, sources
from tests.third_party.applications import APPLICATION_VARIABLE, APPLICATIONS, WAY_VARIABLE

REPOSITORY = Path(__file__).resolve().parents[2]
BRIEF = "brief"


def main(arguments: list[str]) -> int:
    """Run the applications that are named, or all; the exit code."""
    names = [argument for argument in arguments if argument != BRIEF]
    if unknown := set(names) - APPLICATIONS.keys():
        print(f"Unknown: {', '.join(sorted(unknown))}.  There are {', '.join(APPLICATIONS)}.")
        return 2

    def process(name: str, way: str) -> Process:
        application = APPLICATIONS[name]
        folder = sources(name, application.versions)
        path = [folder, installed(folder), REPOSITORY, os.environ.get("PYTHONPATH", "")]
        labels = application.brief if BRIEF in arguments else application.labels
        # -P: the folder of what is started is not one of modules.
        started = [sys.executable, "-P", str(REPOSITORY / "tests" / "third_party" / "process.py")]
        return Process(
            [*started, *labels],
            folder,
            {
                "PYTHONPATH": os.pathsep.join(map(str, path)),
                "DJANGO_SETTINGS_MODULE": "tests.third_party.settings",
                APPLICATION_VARIABLE: name,
                WAY_VARIABLE: way,
            },
        )

    return run("Third-party applications", process, names or list(APPLICATIONS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
