"""A fault that did not happen fails the run, and so does a run that proves less than it says."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.workloads import nemesis
from tests.workloads.__main__ import main
from tests.workloads.history import UNEXPECTED, Operation, Outcome
from tests.workloads.kinds import WORKLOADS
from tests.workloads.nemesis import FAULTS, Nemesis
from tests.workloads.runner import Plan, Report, judge


class Unmoved:
    """A cluster at which nothing that is done to it has any effect: it goes on as before."""

    def __init__(self) -> None:
        self.names = ["n1", "n2", "n3"]
        self.settings = {"COMMIT_TIMEOUT_S": 0}
        self.links = self
        self.held = {1, 2}
        self._applied = 0

    def leader(self, *among: str) -> str:
        return among[0] if among else "n1"

    def status(self, name: str) -> dict[str, int]:
        self._applied += nemesis.MORE_ENTRIES
        return {"term": 1, "applied_index": self._applied, "commit_index": self._applied}

    def log_of(self, name: str) -> str:
        return ""

    def stop(self, name: str) -> int:
        return 0

    def nothing(self, *args: Any) -> None:
        """Done to it, without effect."""

    kill = start = signal = cut = heal = nothing


NEEDS_PROOF = sorted(
    FAULTS.keys() - {"kill-follower", "kill-clients", "pause-clients", "change-schema"}
)
"""The others are what the harness does and waits for, or are seen in real databases."""


@pytest.mark.parametrize("name", NEEDS_PROOF)
def test_a_fault_without_effect_is_none(name: str) -> None:
    with pytest.raises(AssertionError, match=r"no election|committed|heard|hand over"):
        FAULTS[name](Unmoved(), random.Random(1))  # type: ignore[arg-type]


@pytest.fixture
def struck(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which faults struck, none of which does anything."""
    found: list[str] = []

    def strike(name: str):
        return lambda cluster, rng: found.append(name) or name

    monkeypatch.setattr(nemesis, "FAULTS", {name: strike(name) for name in FAULTS})
    return found


def nemesis_of(seed: int, *faults: str) -> Nemesis:
    return Nemesis(Unmoved(), faults, seed)  # type: ignore[arg-type]


def test_each_demanded_fault_strikes_though_there_is_no_time(struck: list[str]) -> None:
    demanded = ("kill-leader", "no-majority", "kill-all")
    made = nemesis_of(1, *demanded)
    made.run(0, calm_s=0)
    assert sorted(struck) == sorted(demanded)
    assert [name for name, *_ in made.happened] == struck


def test_the_seed_decides_about_the_order(struck: list[str]) -> None:
    for seed in (1, 1, *range(2, 9)):
        nemesis_of(seed, *FAULTS).run(0, calm_s=0)
    runs = [tuple(struck[n : n + len(FAULTS)]) for n in range(0, len(struck), len(FAULTS))]
    assert runs[0] == runs[1]
    assert len(set(runs)) > 3


def operation(**changes: Any) -> Operation:
    fields: dict[str, Any] = {
        "process": "p",
        "node": "n1",
        "workload": "set",
        "action": "create",
        "argument": [1],
        "called": 1.0,
        "returned": 2.0,
        "outcome": Outcome.OK,
    }
    return Operation(**fields | changes)


def report(*operations: Operation, faults: list[Any] | None = None) -> Report:
    demanded = tuple(name for name, *_ in faults or [])
    plan = Plan(("set",), demanded, 1, 1)
    return Report(plan, list(operations), {"set": [1]}, faults or [], Path())


def test_what_nobody_foresaw_is_a_violation() -> None:
    strange = operation(argument=[2], outcome=Outcome.UNKNOWN, error=f"{UNEXPECTED}KeyError: 7")
    (violation,) = judge("set", report(operation(), strange)).violations
    assert "KeyError: 7" in violation
    assert not judge("set", report(operation())).violations


def test_every_node_must_serve_after_the_last_fault() -> None:
    fault = ("kill-leader", 3.0, 4.0, "proof")
    assert judge("set", report(operation(), faults=[fault])).missing
    assert not judge("set", report(operation(called=5.0, returned=6.0), faults=[fault])).missing


def test_outcomes_must_get_unknown_where_there_was_no_majority() -> None:
    fault = ("no-majority", 0.0, 0.5, "proof")
    assert judge("set", report(operation(), faults=[fault])).missing
    resolved = operation(result="resolved")
    assert not judge("set", report(resolved, faults=[fault])).missing


def test_the_line_that_runs_a_plan_again_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(("bank", "set"), ("kill-leader",), 7, 1.5, clients=3)
    seen = []

    def run(plan: Plan, folder: Path) -> Report:
        seen.append(plan)
        folder.rmdir()
        raise AssertionError("enough")

    monkeypatch.setattr("tests.workloads.runner.run", run)
    arguments = plan.line().removeprefix('make workloads ARGS="').removesuffix('"').split()
    assert main(arguments) == 1
    assert seen == [plan]
    assert set(plan.workloads) <= set(WORKLOADS)
