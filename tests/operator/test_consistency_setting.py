"""`DEFAULT_CONSISTENCY` as `manage.py check` sees it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from raftdjango.checks.settings import check_settings
from raftdjango.consistency.scopes import in_force
from raftdjango.node.http import views as http_views


def found(value: Any) -> list[str]:
    with override_settings(RAFTDJANGO={"DEFAULT_CONSISTENCY": value}):
        return [f"{each.msg} {each.hint}" for each in check_settings()]


@pytest.mark.parametrize("value", ["local", "linearizable", "bounded:0.5", "bounded:30"])
def test_what_it_may_be(value: str) -> None:
    assert found(value) == []


@pytest.mark.parametrize(
    "value",
    [
        "strong",
        "",
        "Local",
        "bounded",
        "bounded:",
        "bounded:x",
        "bounded:0",
        "bounded:-1",
        "bounded:nan",
        "linearizable:1",
        "at_least:5",
        0.5,
        None,
        True,
        ["local"],
    ],
)
def test_what_it_may_not_be(value: Any) -> None:
    (message,) = found(value)
    assert "DEFAULT_CONSISTENCY" in message
    assert "'local', 'linearizable', or 'bounded:'" in message


def test_the_nodes_own_endpoints_read_locally(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or nobody could log in to see why the cluster has no majority."""
    monkeypatch.setattr(http_views, "_rendered", lambda response: response)
    monkeypatch.setattr(http_views, "close_old_connections", lambda: None)
    with override_settings(RAFTDJANGO={"DEFAULT_CONSISTENCY": "linearizable"}):
        assert in_force("default")
        assert http_views._call_cold(lambda request: in_force("default"), None, {}) is None  # type: ignore[arg-type]
