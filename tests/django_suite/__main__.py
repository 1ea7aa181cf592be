"""Run Django's own tests: `python -m tests.django_suite [labels and options of runtests.py]`.

Without labels it runs those that write; `all` runs everything, in one database.  The tests are in Django's source
distribution only, which is fetched by pip into a cache outside the repository when it is missing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import django

from tests.sources import sources

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = [
    "async",
    "backends",
    "basic",
    "bulk_create",
    "cache",
    "composite_pk",
    "constraints",
    "contenttypes_tests",
    "custom_pk",
    "delete",
    "delete_regress",
    "expressions",
    "fixtures",
    "fixtures_model_package",
    "fixtures_regress",
    "force_insert_update",
    "generic_relations",
    "get_or_create",
    "m2m_intermediary",
    "m2m_multiple",
    "m2m_recursive",
    "m2m_regress",
    "m2m_signals",
    "m2m_through",
    "m2m_through_regress",
    "m2o_recursive",
    "many_to_many",
    "many_to_one",
    "migrations",
    "model_inheritance",
    "prefetch_related",
    "raw_query",
    "schema",
    "select_for_update",
    "serializers",
    "servers",
    "sessions_tests",
    "test_utils",
    "transaction_hooks",
    "transactions",
    "update",
    "update_only_fields",
]

LONGEST = ["cache", "migrations", "serializers", "servers", "schema", "delete"]
PROCESSES = {"cache": 6}
"""Labels whose tests mostly wait, for entries to expire for one."""


def fetch() -> Path:
    """The folder of Django's tests, of the version that is installed."""
    return sources("Django", f"=={django.get_version()}") / "tests"


@dataclass(frozen=True)
class Run:
    """What became of one label."""

    label: str
    code: int
    output: str
    seconds: float

    @property
    def tests(self) -> int:
        """How many there were."""
        return sum(map(int, re.findall(r"^Ran (\d+) tests?", self.output, re.MULTILINE)))

    @property
    def skipped(self) -> int:
        """How many of them Django, or the backend's `django_test_skips`, left out."""
        return sum(
            map(int, re.findall(r"^(?:OK|FAILED) .*skipped=(\d+)", self.output, re.MULTILINE))
        )


def command(labels: list[str], options: list[str]) -> list[str]:
    """How `runtests.py` is called."""
    own = [sys.executable, "runtests.py", "--settings=tests.django_suite.settings"]
    return [*own, *options, *labels]


def environment() -> dict[str, str]:
    """The repository is to be importable from the folder of Django's tests."""
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def run_label(folder: Path, label: str, options: list[str]) -> Run:
    """Run one label by itself: with the tables of all of them every flush would take many times as
    long.
    """
    options = [f"--parallel={PROCESSES.get(label, 1)}", *options]
    began = time.monotonic()
    done = subprocess.run(
        command([label], options),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Run(label, done.returncode, done.stdout, time.monotonic() - began)


def run_labels(folder: Path, labels: list[str], options: list[str]) -> int:
    """Run the labels side by side, the long ones first; the exit code."""
    ordered = sorted(labels, key=lambda label: LONGEST.index(label) if label in LONGEST else 99)
    # One more than there are processors: some tests wait rather than work.
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        runs = []
        for future in as_completed(
            pool.submit(run_label, folder, each, options) for each in ordered
        ):
            run = future.result()
            runs.append(run)
            verdict = "failed" if run.code else "passed"
            line = f"{run.label:24} {verdict}: {run.tests} tests, {run.skipped} skipped"
            print(f"{line}, {run.seconds:.1f} s", flush=True)
            if run.code:
                print(run.output, flush=True)
    failed = [run.label for run in runs if run.code or not run.tests]
    tests, skipped = sum(run.tests for run in runs), sum(run.skipped for run in runs)
    print(f"Django's own suite: {len(runs)} labels, {tests} tests, {skipped} skipped.")
    print(f"Failed: {', '.join(failed)}." if failed else "All passed.")
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    """Run the suite; the exit code."""
    labels = [argument for argument in arguments if not argument.startswith("-")]
    options = [argument for argument in arguments if argument.startswith("-")]
    if "--live" in options:
        from tests.django_suite.live.labels import asked, suite
        from tests.django_suite.live.run import run

        options.remove("--live")
        return run("Django's own suite", suite(fetch(), options), asked(labels))
    if labels != ["all"]:
        return run_labels(fetch(), labels or LABELS, options)
    if not any(option.startswith("--parallel") for option in options):
        options.append(f"--parallel={os.cpu_count() or 1}")
    return subprocess.run(
        command([], options), cwd=fetch(), env=environment(), check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
