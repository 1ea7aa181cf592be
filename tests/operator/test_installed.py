"""The engine without its application: no check can run, so the connection says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import ConnectionHandler

from raftdjango import client
from raftdjango.conf import ENGINE


@pytest.fixture
def connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConnectionHandler:
    """A database that is not in test mode, as the suite's are."""
    monkeypatch.setattr(client, "_factories", {})
    return ConnectionHandler({"default": {"ENGINE": ENGINE, "NAME": tmp_path / "db.sqlite3"}})


def test_connecting_names_the_remedy(connections: ConnectionHandler, settings: Any) -> None:
    connection = connections.create_connection("default")
    connection.alias = "orders"
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "raftdjango"]
    with pytest.raises(ImproperlyConfigured, match=r"'orders'.*INSTALLED_APPS \+= \[") as caught:
        connection.get_connection_params()
    assert '"raftdjango"' in str(caught.value)


@pytest.mark.parametrize("name", ["raftdjango", "raftdjango.apps.RaftDjangoConfig"])
def test_installed_under_either_name(
    connections: ConnectionHandler, settings: Any, name: str
) -> None:
    connection = connections.create_connection("default")
    connection.alias = "orders"
    others = [app for app in settings.INSTALLED_APPS if app != "raftdjango"]
    settings.INSTALLED_APPS = [*others, name]
    assert connection.get_connection_params()["database"]
