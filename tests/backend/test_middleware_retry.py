"""Requests that were beaten are answered anew, where that can do no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib import messages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.views.generic import View
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from raftdjango.exceptions import ClusterUnavailable, TransactionConflict
from raftdjango.middleware import RetryMiddleware, never_retry, retry_on_conflict
from raftdjango.middleware.retry import PARTLY
from raftdjango.testing.consensus import InProcessClient
from raftdjango.testing.faults import conflict, inject, unavailable
from raftdjango.transaction import retry as retry_module
from tests.backend.models import Account, Tag

pytestmark = pytest.mark.django_db(transaction=True)

runs: list[Any] = []
"""What each run of a view saw."""


def add(request: HttpRequest) -> HttpResponse:
    runs.append(request.method)
    Account.objects.filter(name="ada").update(balance=F("balance") + 1)
    Tag.objects.get_or_create(slug="seen")
    return HttpResponse("added")


@never_retry
def never(request: HttpRequest) -> HttpResponse:
    return add(request)


@retry_on_conflict
def post(request: HttpRequest) -> HttpResponse:
    runs.append((request.POST.get("name"), [file.read() for file in request.FILES.values()]))
    return add(request)


def put(request: HttpRequest) -> HttpResponse:
    runs.append(request.body)
    return add(request)


def stream(request: HttpRequest) -> HttpResponse:
    runs.append(request.read())
    return add(request)


def read(request: HttpRequest) -> HttpResponse:
    runs.append((dict(request.POST), request.read()))
    return add(request)


@api_view(["PUT"])
def api(request: Request) -> Response:
    runs.append(request.data)
    add(request._request)
    return Response({"added": True})


def remember(request: HttpRequest) -> HttpResponse:
    """Changes everything that a request brings along."""
    session = request.session
    runs.append((session.get("count", 0), request.user.username, hasattr(request, "seen")))
    session["count"] = session.get("count", 0) + 1
    session.setdefault("list", []).append(len(runs))
    request.seen = True  # type: ignore[attr-defined]
    request.META["seen"] = "yes"
    request.user.username = "changed"
    messages.info(request, f"run {len(runs)}")
    return add(request)


def hook(request: HttpRequest) -> HttpResponse:
    def lose() -> None:
        raise TransactionConflict("the hook's own")

    transaction.on_commit(lose)
    return add(request)


def committing(request: HttpRequest) -> HttpResponse:
    add(request)
    raise TransactionConflict("in its second transaction")


def streaming(request: HttpRequest) -> StreamingHttpResponse:
    add(request)
    return StreamingHttpResponse(iter(["streamed"]))


@transaction.non_atomic_requests
async def asynchronous(request: HttpRequest) -> HttpResponse:
    runs.append("async")
    return await sync_to_async(transaction.atomic(add))(request)


class Class(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return add(request)


urlpatterns = [
    path("add/", add),
    path("post/", post),
    path("put/", put),
    path("stream/", stream),
    path("api/", api),
    path("never/", never),
    path("remember/", remember),
    path("hook/", hook),
    path("committing/", transaction.non_atomic_requests(committing)),
    path("streaming/", streaming),
    path("async/", asynchronous),
    path("read/", read),
    path("class/", Class.as_view()),
]


@pytest.fixture(autouse=True)
def site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "raftdjango.middleware.RetryMiddleware"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(retry_module.random, "uniform", lambda low, high: 0)
    # One replicated database, as most projects have it.
    monkeypatch.setattr("raftdjango.middleware.retry.replicated_aliases", lambda: ["default"])
    runs.clear()
    Account.objects.create(name="ada", balance=0)
    yield
    for connection in connections.all(initialized_only=True):
        assert not connection.in_atomic_block


def balance() -> int:
    return Account.objects.get(name="ada").balance


@pytest.mark.parametrize("method", ["get", "put", "delete", "options"])
def test_a_view_that_was_beaten_runs_again(method: str) -> None:
    with inject(conflict, times=2):
        response = getattr(Client(), method)("/add/")
    assert response.content == b"added"
    assert len(runs) == 3
    assert balance() == 1


def test_views_of_classes_and_streams_too() -> None:
    for where, content in (("/class/", b"added"), ("/streaming/", b"streamed")):
        with inject(conflict):
            assert Client().get(where).getvalue() == content
    assert balance() == 2


def test_methods_that_may_not_be_repeated_are_not() -> None:
    for method in ("post", "patch"):
        with inject(conflict), pytest.raises(TransactionConflict):
            getattr(Client(), method)("/add/")
    assert runs == ["POST", "PATCH"]
    assert balance() == 0


def test_a_decorator_says_otherwise() -> None:
    with inject(conflict), pytest.raises(TransactionConflict):
        Client().get("/never/")
    runs.clear()
    file = SimpleUploadedFile("a.txt", b"contents")
    with inject(conflict):
        Client().post("/post/", {"name": "x", "file": file})
    assert runs == [("x", [b"contents"]), "POST"] * 2


def test_a_body_can_be_read_again() -> None:
    for where, read in (("/put/", b'{"a": 1}'), ("/api/", {"a": 1})):
        runs.clear()
        with inject(conflict):
            Client().put(where, '{"a": 1}', content_type="application/json")
        assert runs == [read, "PUT"] * 2
    assert balance() == 2


def test_what_reads_it_as_a_stream_reads_it_again() -> None:
    with inject(conflict):
        Client().put("/read/", "text", content_type="text/plain")
    assert runs == [({}, b"text"), "PUT"] * 2


def test_what_was_read_as_it_came_cannot(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 3
    with inject(conflict), pytest.raises(TransactionConflict):
        Client().put("/stream/", b"longer", content_type="text/plain")
    assert runs == [b"longer", "PUT"]


def test_what_the_view_did_to_the_request_is_undone(django_user_model: Any) -> None:
    client = Client()
    client.force_login(django_user_model.objects.create_user("ada"))
    with inject(conflict, times=2):
        response = client.get("/remember/")
    assert [run for run in runs if run != "GET"] == [(0, "ada", False)] * 3
    assert client.session["count"] == 1
    assert client.session["list"] == [5]
    assert [str(message) for message in messages.get_messages(response.wsgi_request)] == ["run 5"]


def test_attempts_have_an_end() -> None:
    with inject(conflict, times=None) as injection, pytest.raises(TransactionConflict):
        Client().get("/add/")
    assert len(runs) == injection.happened == RetryMiddleware.attempts


def test_after_some_defeats_it_has_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    take_turn = InProcessClient.take_turn

    def noting(client: InProcessClient, proposal_id: bytes, **options: float) -> bool:
        taken.append(len(runs))
        return take_turn(client, proposal_id, **options)

    monkeypatch.setattr(InProcessClient, "take_turn", noting)
    with inject(conflict, times=4):
        Client().get("/add/")
    assert taken == [3, 4]


def test_other_errors_are_not_its_business() -> None:
    with inject(unavailable), pytest.raises(ClusterUnavailable):
        Client().get("/add/")
    assert len(runs) == 1


def test_nothing_is_run_again_once_something_was_committed() -> None:
    with pytest.raises(TransactionConflict, match="the hook's own"):
        Client().get("/hook/")
    assert (len(runs), balance()) == (1, 1)
    with pytest.raises(TransactionConflict, match="second transaction") as caught:
        Client().get("/committing/")
    assert (len(runs), balance()) == (2, 2)
    assert caught.value.__notes__ == [PARTLY]


def test_an_asynchronous_view_is_run_again() -> None:
    async def ask() -> bytes:
        return (await AsyncClient().get("/async/")).content

    with inject(conflict, times=4):
        assert asyncio.run(ask()) == b"added"
    assert runs == ["async", "GET"] * 5
    assert balance() == 1


def test_a_synchronous_view_of_an_asynchronous_site() -> None:
    async def ask() -> bytes:
        return (await AsyncClient().get("/add/")).content

    with inject(conflict, times=2):
        assert asyncio.run(ask()) == b"added"
    assert len(runs) == 3


def test_inside_a_test_case_as_well(db: None) -> None:
    with inject(conflict):
        assert Client().get("/add/").content == b"added"
