"""Which applications, how their own tests are run, and with what settings of theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

APPLICATION_VARIABLE, WAY_VARIABLE = "THIRD_PARTY_APPLICATION", "THIRD_PARTY_WAY"
"""What the process of the tests is told."""


@dataclass(frozen=True)
class Application:
    """One whose source distribution holds its tests."""

    name: str
    """PyPI's."""
    versions: str
    settings: Callable[[], dict[str, Any]]
    """Those that its tests come with."""
    labels: Sequence[str]
    """What pytest, or `manage.py test`, is given."""
    brief: Sequence[str]
    """Enough of them to notice that something is broken, in half a minute."""
    pytest: bool = False
    configured: bool = False
    """Its tests know `settings.configure()` and no module of settings, of which less can be taken away."""


def _module(name: str) -> dict[str, Any]:
    module = import_module(name)
    return {name: getattr(module, name) for name in dir(module) if name.isupper()}


def _simple_history() -> dict[str, Any]:
    """They are in what starts its tests."""
    settings: dict[str, Any] = import_module("runtests").get_default_settings()
    return settings


APPLICATIONS = {
    application.name: application
    for application in (
        # Trees in three ways, of which two rewrite paths and borders of many rows with SQL of their own.
        Application(
            name="django-treebeard",
            versions=">=7,<8",
            settings=lambda: _module("tests.settings"),
            labels=[
                "tests",
                # It measures how long a string takes, no database, and fails on a busy machine.
                "--deselect=tests/test_ltree_utils.py::TestGenerateLabel::test_large_string",
            ],
            brief=[
                f"tests/test_treebeard.py::{name}"
                for name in (
                    "TestDelete",
                    "TestMP_TreeFindProblems",
                    "TestMP_TreeFix",
                    "TestMP_TreeLoadBulk",
                    "TestMP_TreeStepOverflow",
                    "TestNS_TreeFindProblems",
                )
            ],
            pytest=True,
        ),
        # A row of history for each change: signals, bulk operations, many-to-many, a second database.
        Application(
            name="django-simple-history",
            versions=">=3.10,<4",
            settings=_simple_history,
            labels=["simple_history.tests", "simple_history.registry_tests"],
            brief=["simple_history.tests.tests.test_manager"],
            configured=True,
        ),
    )
}
