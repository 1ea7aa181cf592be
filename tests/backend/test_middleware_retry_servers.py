"""Requests are answered anew below real servers, whose requests hold what cannot be copied."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib import messages
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.urls import path

from raftdjango.testing.faults import conflict, inject
from raftdjango.transaction import retry as retry_module
from tests.backend.models import Account, Tag

pytestmark = pytest.mark.django_db(transaction=True)

runs: list[int] = []
"""What each run found in the session."""


def add(request: HttpRequest) -> HttpResponse:
    counted = request.session.get("counted", [])
    runs.append(len(counted))
    request.session["counted"] = counted
    counted.append(len(runs))
    messages.info(request, f"run {len(runs)}")
    Account.objects.filter(name="ada").update(balance=F("balance") + 1)
    Tag.objects.create(slug=f"{Tag.objects.count()}")
    return HttpResponse("added")


def show(request: HttpRequest) -> HttpResponse:
    """Shows the messages, which takes them away, and loses in its first run."""
    shown = ", ".join(map(str, messages.get_messages(request)))
    Tag.objects.get_or_create(slug=f"shown {Tag.objects.count()}")
    Account.objects.filter(name="ada").update(balance=F("balance") + 1)
    return HttpResponse(shown)


urlpatterns = [path("add/", add), path("show/", show)]


@pytest.fixture(autouse=True, params=["db", "signed_cookies"])
def site(
    request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "raftdjango.middleware.RetryMiddleware"]
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    assert settings.MESSAGE_STORAGE == "django.contrib.messages.storage.fallback.FallbackStorage"
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(retry_module.random, "uniform", lambda low, high: 0)
    runs.clear()
    Account.objects.create(name="ada", balance=0)
    yield


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class Browser:
    """Asks a server that answers in this thread, and keeps cookies."""

    def __init__(self) -> None:
        self.cookies: SimpleCookie = SimpleCookie()

    def get(self, where: str) -> str:
        answers: list[Any] = []
        with make_server("127.0.0.1", 0, WSGIHandler(), handler_class=Quiet) as server:
            server.timeout = 60
            url = f"http://127.0.0.1:{server.server_port}{where}"
            asking = threading.Thread(target=lambda: answers.append(self._ask(url)))
            asking.start()
            server.handle_request()
            asking.join(60)
        (answer,) = answers
        return str(answer)

    def _ask(self, url: str) -> str:
        request = urllib.request.Request(url)
        request.add_header(
            "Cookie", "; ".join(f"{c.key}={c.coded_value}" for c in self.cookies.values())
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            for value in response.headers.get_all("Set-Cookie") or ():
                self.cookies.load(value)
            return str(response.read().decode())


def test_below_wsgi() -> None:
    browser = Browser()
    with inject(conflict, times=2):
        assert browser.get("/add/") == "added"
    assert runs == [0, 0, 0]
    assert Account.objects.get(name="ada").balance == 1
    browser.get("/add/")
    assert runs == [0, 0, 0, 1], "what runs that lost put into the session is not in it"
    with inject(conflict):
        assert browser.get("/show/") == "run 3, run 4"
    assert browser.get("/show/") == ""


def test_below_asgi() -> None:
    def scope() -> dict[str, Any]:
        return {
            "type": "http",
            "method": "GET",
            "path": "/add/",
            "query_string": b"",
            "headers": [(b"host", b"testserver")],
            "state": {
                "cannot be copied": sys.__stderr__,
                "nor this": io.TextIOWrapper(io.BytesIO()),
            },
        }

    async def ask() -> tuple[int, bytes]:
        server: Any = ApplicationCommunicator(ASGIHandler(), scope())  # type: ignore[no-untyped-call]
        await server.send_input({"type": "http.request", "body": b""})
        start = await server.receive_output(timeout=60)
        body = await server.receive_output(timeout=60)
        await server.wait(timeout=60)
        return start["status"], body["body"]

    with inject(conflict, times=2):
        assert asyncio.run(ask()) == (200, b"added")
    assert runs == [0, 0, 0]
    assert Account.objects.get(name="ada").balance == 1
