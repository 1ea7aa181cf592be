"""Labels one after another, each on stock SQLite and on one live cluster, and the two compared."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.django_suite.live.cluster import LiveCluster
from tests.django_suite.live.equality import NotEqual
from tests.django_suite.live.outcomes import (
    FAILED,
    OUTCOMES_VARIABLE,
    PASSED,
    SKIPPED,
    Outcomes,
    differences,
)

STOCK, LIVE = "stock", "live"
"""The two ways: on Django's own SQLite backend, and as the web worker of a node."""

LABEL_S_MAX = 1800.0
"""A label that takes longer hangs."""


@dataclass(frozen=True)
class Process:
    """What runs the tests of one label in one way; it writes down what became of each."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


Suite = Callable[[str, str], Process]
"""From label and way to what runs it."""


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


def run(title: str, suite: Suite, labels: Sequence[str]) -> int:
    """Run labels on both; the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django_suite.live.settings")
    home = Path(tempfile.mkdtemp(prefix="django-suite-live-"))
    cluster = LiveCluster(home)
    results = []
    try:
        cluster.start()
        leader = cluster.leader()
        # A follower's worker: its writes are passed on to the leader and come back through the log.
        node = next(name for name in cluster.names if name != leader)
        for label in labels:
            result = run_label(cluster, node, suite, label)
            results.append(result)
            print(*result.lines(), sep="\n", flush=True)
        cluster.assert_quiet_logs()
    finally:
        cluster.close()
    failed = [result.label for result in results if result.problems]
    entries = sum(result.live.entries.get("tests", 0) for result in results)
    passed = sum(len(result.live.of(PASSED)) for result in results)
    print(
        f"{title} on three nodes: {len(results)} labels, {passed} tests passed, "
        f"{entries} entries went through the log, not counting flushes."
    )
    if failed:
        print(f"Not as stock SQLite: {', '.join(failed)}.  The nodes' folders: {home}")
        return 1
    shutil.rmtree(home)
    print("All as stock SQLite, and the nodes equal, row for row.")
    return 0


def run_label(cluster: LiveCluster, node: str, suite: Suite, label: str) -> Result:
    """One label on both."""
    began = time.monotonic()
    index = cluster.index()
    stock, output = _run(suite(label, STOCK), cluster.folder / f"{label}-stock", {})
    if not stock.tests:
        return Result(label, stock, Outcomes(), 0, 0, [f"Stock runs none of its tests:\n{output}"])
    live, output = _run(
        suite(label, LIVE), cluster.folder / f"{label}-live", cluster.environment(node)
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


def _run(process: Process, told: Path, own: Mapping[str, str]) -> tuple[Outcomes, str]:
    """What became of the tests, and what was printed."""
    outcomes = told.with_name(f"{told.name}.json")
    done = subprocess.run(
        process.command,
        cwd=process.folder,
        # Its own come last: they name other settings than the nodes have.
        env={**os.environ, **own, **process.environment, OUTCOMES_VARIABLE: str(outcomes)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LABEL_S_MAX,
    )
    told.with_name(f"{told.name}.log").write_text(done.stdout)
    if not outcomes.exists():
        return Outcomes(), done.stdout
    return Outcomes.read(outcomes), done.stdout
