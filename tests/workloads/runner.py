"""A run: a cluster, clients, faults, the judgement of all histories, and the comparison of the databases."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.harness import Cluster
from tests.workloads.cluster import WorkloadCluster
from tests.workloads.history import UNEXPECTED, Operation, Outcome, load, write
from tests.workloads.kinds import WORKLOADS
from tests.workloads.kinds.base import Findings
from tests.workloads.kinds.sets import uncertain
from tests.workloads.nemesis import Nemesis

HISTORY, FINALS = "history.jsonl", "final.json"
SHOWN_MAX = 5
"""How many violations of one workload are told; the history holds all."""


@dataclass(frozen=True)
class Plan:
    """What is asked for; the same plan gives clients the same choices."""

    workloads: tuple[str, ...]
    faults: tuple[str, ...]
    seed: int
    seconds: float
    clients: int = 1
    """Of each workload on each node."""

    def line(self) -> str:
        """What runs it again."""
        return (
            f'make workloads ARGS="--seed {self.seed} --seconds {self.seconds:g} '
            f"--clients {self.clients} --workloads {' '.join(self.workloads)} "
            f'--faults {" ".join(self.faults) or "none"}"'
        )


@dataclass
class Report:
    """What came of it."""

    plan: Plan
    operations: list[Operation]
    finals: dict[str, Any]
    faults: list[tuple[str, float, float, str]]
    folder: Path
    """Where the history is."""
    found: dict[str, Findings] = field(default_factory=dict)

    def of(self, workload: str) -> list[Operation]:
        return [operation for operation in self.operations if operation.workload == workload]

    @property
    def wrong(self) -> bool:
        return any(found.violations or found.missing for found in self.found.values())

    def counts(self, workload: str) -> str:
        part = self.of(workload)
        return ", ".join(
            f"{sum(o.outcome == outcome for o in part)} {outcome}"
            for outcome in ("ok", "fail", "unknown")
        )

    def explain(self, workload: str) -> str:
        """What is wrong with one workload; empty if nothing is."""
        found = self.found[workload]
        lines = [*found.violations[:SHOWN_MAX]]
        if len(found.violations) > SHOWN_MAX:
            lines.append(f"... and {len(found.violations) - SHOWN_MAX} more")
        lines += [f"did not happen: {missing}" for missing in found.missing]
        return "\n".join(lines)


def run(plan: Plan, folder: Path) -> Report:
    """Run a plan on a new cluster; what it throws is wrong with the cluster or the databases."""
    cluster = WorkloadCluster(folder)
    nemesis = Nemesis(cluster, plan.faults, plan.seed)
    try:
        cluster.begin(plan.workloads, plan.clients, plan.seed, plan.seconds)
        try:
            nemesis.run(plan.seconds)
        finally:
            write(folder / HISTORY, cluster.operations())
        operations = cluster.finish()
        write(folder / HISTORY, operations)
        cluster.leader()
        cluster.assert_equal()
        assert_whole(cluster)
        finals = cluster.processes[cluster.names[0]].call("final", plan.workloads)
        (folder / FINALS).write_text(json.dumps(finals))
        cluster.assert_equal()
        cluster.assert_quiet_logs()
    except BaseException as error:
        for text in (f"What clients were told: {folder / HISTORY}", *grave(cluster)):
            error.add_note(text)
        error.add_note(f"Run it again: {plan.line()}")
        raise
    finally:
        cluster.close()
    return judged(Report(plan, operations, finals, nemesis.happened, folder))


def again(folder: Path) -> Report:
    """The judgement of what a run left behind."""
    operations = load(folder / HISTORY)
    finals = json.loads((folder / FINALS).read_text())
    return judged(Report(Plan(tuple(finals), (), 0, 0), operations, finals, [], folder))


def judged(report: Report) -> Report:
    """With the findings of each workload."""
    for name in report.plan.workloads:
        report.found[name] = judge(name, report)
    return report


def judge(name: str, report: Report) -> Findings:
    """What a workload's own judgement says, and what holds for all of them."""
    part = report.of(name)
    found = WORKLOADS[name].judge(part, report.finals[name])
    violations = [*found.violations]
    violations += [str(o) for o in part if o.error.startswith(UNEXPECTED)]
    missing = [*found.missing]
    if name == "set" and "no-majority" in report.plan.faults and not uncertain(part):
        missing.append("an outcome that was unknown at first")
    missing += [f"an operation on {node} after the last fault" for node in _silent(report)]
    return Findings(violations, missing)


def _silent(report: Report) -> list[str]:
    """Nodes that told nobody anything any more after the last fault."""
    if not report.faults:
        return []
    end = max(until for _, _, until, _ in report.faults)
    answered = {
        o.node for o in report.operations if o.called > end and o.outcome is not Outcome.UNKNOWN
    }
    return sorted({o.node for o in report.operations} - answered)


def assert_whole(cluster: Cluster) -> None:
    """SQLite itself finds nothing wrong with any database."""
    for name in cluster.names:
        connection = sqlite3.connect(f"file:{cluster.database(name)}?mode=ro", uri=True)
        try:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], name
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == [], name
        finally:
            connection.close()


def grave(cluster: Cluster) -> list[str]:
    """What the nodes have printed that is worse than a warning."""
    return [
        f"{name}: {line}"
        for name in cluster.names
        for line in cluster.log_of(name).splitlines()
        if re.search(r" (ERROR|CRITICAL) |^Traceback|^\w+Error", line)
    ]


def narrate(report: Report) -> str:
    """All of it, for people."""
    begin = report.operations[0].called if report.operations else time.monotonic()
    lines = [
        f"{began - begin:6.1f} s to {until - begin:5.1f} s  {name}: {proof}"
        for name, began, until, proof in report.faults
    ]
    for name in report.plan.workloads:
        verdict = "WRONG" if report.explain(name) else "good"
        lines.append(f"{name:<20} {verdict:<6} {report.counts(name)}")
        lines += [re.sub(r"^", "    ", text, flags=re.MULTILINE) for text in _wrong(report, name)]
    return "\n".join(lines)


def _wrong(report: Report, name: str) -> Sequence[str]:
    text = report.explain(name)
    return [text] if text else []
