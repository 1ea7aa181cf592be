"""Labels one after another, each on stock SQLite and on one live cluster, and the two compared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.django_suite.live.cluster import LiveCluster
from tests.django_suite.live.equality import NotEqual
from tests.django_suite.live.outcomes import FAILED, PASSED, SKIPPED, Outcomes, differences
from tests.django_suite.live.runner import OUTCOMES_VARIABLE

REPOSITORY = Path(__file__).resolve().parents[3]
LABELS = [
    "backends",
    "basic",
    "bulk_create",
    "constraints",
    "contenttypes_tests",
    "custom_pk",
    "delete",
    "fixtures",
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
    "many_to_many",
    "many_to_one",
    "migrations",
    "raw_query",
    "schema",
    "select_for_update",
    "servers",
    "sessions_tests",
    "transaction_hooks",
    "transactions",
    "update",
    "update_only_fields",
]
BRIEF = ["get_or_create", "select_for_update", "transaction_hooks", "transactions", "update"]
"""Enough to notice that something is broken, in a minute."""

LABEL_S_MAX = 1800.0
"""A label that takes longer hangs."""


@dataclass
class Result:
    """One label on both."""

    label: str
    stock: Outcomes
    live: Outcomes
    seconds: float
    moved: int
    """How many entries both logs grew by."""
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """What there is to say of it."""
        live, entries = self.live, Counter(self.live.entries)
        verdict = "failed" if self.problems else "equal"
        passed, before = len(live.of(PASSED)), len(self.stock.of(PASSED))
        yield (
            f"{self.label:20} {verdict}: {passed} passed (stock {before}); "
            f"{entries['tests']} entries, {entries['blind']} of them blind, {entries['refused']} "
            f"refused; {entries['flushes']} of flushes; nodes compared {entries['comparisons']} times; "
            f"{self.seconds:.1f} s, {live.seconds.get('flushing', 0):.1f} of them flushing, "
            f"{live.seconds.get('comparing', 0):.1f} comparing"
        )
        for name in live.of(FAILED):
            if name in self.stock.of(FAILED):
                yield f"  fails on both: {name}"
        for name in live.of(SKIPPED):
            if name in self.stock.of(PASSED):
                yield f"  left out: {name}: {live.reasons[name]}"
        for problem in self.problems:
            yield f"  {problem}"


def run(folder: Path, labels: Sequence[str], options: Sequence[str]) -> int:
    """Run labels on both; the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django_suite.live.settings")
    asked = LABELS if not labels else BRIEF if list(labels) == ["brief"] else labels
    home = Path(tempfile.mkdtemp(prefix="django-suite-live-"))
    cluster = LiveCluster(home)
    results = []
    try:
        cluster.start()
        leader = cluster.leader()
        # A follower's worker: its writes are passed on to the leader and come back through the log.
        node = next(name for name in cluster.names if name != leader)
        for label in asked:
            result = run_label(cluster, node, folder, label, options)
            results.append(result)
            print(*result.lines(), sep="\n", flush=True)
        cluster.assert_quiet_logs()
    finally:
        cluster.close()
    failed = [result.label for result in results if result.problems]
    entries = sum(result.live.entries.get("tests", 0) for result in results)
    passed = sum(len(result.live.of(PASSED)) for result in results)
    print(
        f"Django's own suite on three nodes: {len(results)} labels, {passed} tests passed, "
        f"{entries} entries went through the log, not counting flushes."
    )
    if failed:
        print(f"Not as stock SQLite: {', '.join(failed)}.  The nodes' folders: {home}")
        return 1
    shutil.rmtree(home)
    print("All as stock SQLite, and the nodes equal, row for row.")
    return 0


def run_label(
    cluster: LiveCluster, node: str, folder: Path, label: str, options: Sequence[str]
) -> Result:
    """One label on both."""
    began = time.monotonic()
    index = cluster.index()
    stock, _ = _run(cluster.folder, folder, label, "stock", options, {})
    live, output = _run(
        cluster.folder, folder, label, "settings", options, cluster.environment(node)
    )
    result = Result(label, stock, live, time.monotonic() - began, cluster.index() - index)
    result.problems.extend(judge(stock, live, result.moved) if live.tests else [output])
    try:
        cluster.compare()
    except NotEqual as unequal:
        result.problems.append(str(unequal))
    return result


def judge(stock: Outcomes, live: Outcomes, moved: int) -> Iterator[str]:
    """What is wrong with a label that was run."""
    yield from differences(stock, live)
    own = sum(live.entries.get(kind, 0) for kind in ("setup", "tests", "flushes"))
    if not live.entries.get("tests"):
        yield "Nothing that the tests wrote went through the log."
    elif moved < own:
        yield f"The tests were told of {own} entries, and the logs of the nodes have grown by {moved}."


def _run(
    home: Path, folder: Path, label: str, settings: str, options: Sequence[str], own: dict[str, str]
) -> tuple[Outcomes, str]:
    told = home / f"{label}-{settings}.json"
    module = f"tests.django_suite.live.{settings}"
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "runtests.py", f"--settings={module}", "--parallel=1", *options, label],
        cwd=folder,
        env={
            **os.environ,
            **own,
            "PYTHONPATH": path,
            "DJANGO_SETTINGS_MODULE": module,
            OUTCOMES_VARIABLE: str(told),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LABEL_S_MAX,
    )
    (home / f"{label}-{settings}.log").write_text(done.stdout)
    if not told.exists():
        return Outcomes(), done.stdout
    return Outcomes.read(told), done.stdout
