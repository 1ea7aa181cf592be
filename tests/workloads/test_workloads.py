"""All workloads at once on one cluster, for a short while, with faults; each is judged by itself."""

from __future__ import annotations

import random

import pytest

from tests.workloads.kinds import WORKLOADS
from tests.workloads.runner import HISTORY, Plan, Report, run

pytestmark = pytest.mark.cluster

AVAILABLE = [name for name, workload in WORKLOADS.items() if not workload.unavailable()]
FAULTS = ("kill-leader", "kill-follower", "pause-leader", "isolate-follower", "no-majority")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    plan = Plan(tuple(AVAILABLE), FAULTS, seed=random.randrange(1_000_000), seconds=10)
    return run(plan, tmp_path_factory.mktemp("workloads"))


@pytest.mark.parametrize("name", AVAILABLE)
def test_workload(report: Report, name: str) -> None:
    wrong = report.explain(name)
    assert not wrong, (
        f"{name} ({report.counts(name)}):\n{wrong}\n"
        f"What clients were told: {report.folder / HISTORY}\nRun it again: {report.plan.line()}"
    )


def test_the_faults_happened(report: Report) -> None:
    assert {name for name, *_ in report.faults} == set(FAULTS)
