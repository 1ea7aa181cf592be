"""Run Django's own tests: `python -m tests.django_suite [labels and options of runtests.py]`.

Without labels it runs those that write; `all` runs everything.  The tests are in Django's source
distribution only, which is fetched by pip into a cache outside the repository when it is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import django

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "raftdjango"
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


def fetch() -> Path:
    """The folder of Django's tests, of the version that is installed."""
    version = django.get_version()
    folder = CACHE / f"django-{version}"
    if not (folder / "tests" / "runtests.py").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", str(CACHE), f"Django=={version}"]
        subprocess.run(command, check=True)
        (archive,) = CACHE.glob(f"[Dd]jango-{version}.tar.gz")
        with tarfile.open(archive) as file:
            file.extractall(CACHE, filter="data")
        for extracted in CACHE.glob(f"[Dd]jango-{version}"):
            if extracted != folder:
                extracted.rename(folder)
    return folder / "tests"


def main(arguments: list[str]) -> int:
    """Run the suite; the exit code of its runner."""
    labels = [argument for argument in arguments if not argument.startswith("-")]
    options = [argument for argument in arguments if argument.startswith("-")]
    if labels == ["all"]:
        labels = []
    elif not labels:
        labels = LABELS
    if not any(option.startswith("--parallel") for option in options):
        options.append(f"--parallel={os.cpu_count() or 1}")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "runtests.py", "--settings=tests.django_suite.settings"]
    return subprocess.run(
        [*command, *options, *labels], cwd=fetch(), env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
