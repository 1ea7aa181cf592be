"""A request is not answered anew where that could do harm, and finds itself as it was where it is."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse, QueryDict
from django.test import AsyncClient, Client
from django.urls import path

from raftdjango.exceptions import CommitUncertain, TransactionConflict
from raftdjango.middleware import retry_on_conflict
from raftdjango.testing.faults import conflict, inject, uncertain
from raftdjango.transaction import retry as retry_module
from tests.backend.models import Account

pytestmark = pytest.mark.django_db(transaction=True)

runs: list[Any] = []


def deposit() -> None:
    Account.objects.filter(name="ada").update(balance=F("balance") + 1)


def lose_once() -> HttpResponse:
    runs.append(len(runs))
    if len(runs) == 1:
        raise TransactionConflict("lost")
    return HttpResponse("answered")


def swallowing(request: HttpRequest) -> HttpResponse:
    try:
        with transaction.atomic():
            deposit()
    except CommitUncertain:
        pass
    return lose_once()


async def in_another_thread(request: HttpRequest) -> HttpResponse:
    def write() -> None:
        deposit()
        connections.close_all()

    await sync_to_async(write, thread_sensitive=False)()
    return lose_once()


def in_a_thread_of_its_own(request: HttpRequest) -> HttpResponse:
    """Begun as the docs say."""

    def write() -> None:
        deposit()
        connections.close_all()

    thread = threading.Thread(target=contextvars.copy_context().run, args=[write])
    thread.start()
    thread.join(60)
    return lose_once()


async def in_tasks(request: HttpRequest) -> HttpResponse:
    await asyncio.gather(sync_to_async(deposit)(), asyncio.create_task(sync_to_async(deposit)()))
    return lose_once()


async def only_reading(request: HttpRequest) -> HttpResponse:
    await Account.objects.aget(name="ada")
    return lose_once()


@retry_on_conflict
def touching(request: HttpRequest) -> HttpResponse:
    """Changes all that a request brings along, whatever Django thinks of that."""
    form: Any = request.POST
    query: Any = request.GET
    user: Any = request.user
    uploads: Any = request.FILES
    runs.append(
        (
            request.COOKIES.get("seen"),
            form.getlist("n"),
            query.getlist("n"),
            [file.read() for file in uploads.values()],
            list(request.trail["of"]),  # type: ignore[attr-defined]
            (user.balance, user.twin.balance),
            request.headers.get("X-Seen"),
        )
    )
    request.COOKIES["seen"] = "yes"
    for values in (form, query):
        values._mutable = True
        values.appendlist("n", "changed")
        values._mutable = False
    request.trail["of"].append("changed")  # type: ignore[attr-defined]
    user.balance += 1
    user.twin.balance += 1
    request.META["HTTP_X_SEEN"] = "yes"
    if len(runs) < 3:
        raise TransactionConflict("lost")
    return HttpResponse("answered")


class Before:
    """A middleware that has had a look at all of it."""

    trails: list[Any] = []
    parse = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.trail = {"of": ["before"]}
        request.user = Account(name="cached", balance=0)
        request.user._state.fields_cache["twin"] = request.user.twin = Account(balance=0)
        self.trails.append(request.trail["of"])
        assert request.COOKIES is not request.GET
        assert not self.parse or request.POST
        return self.get_response(request)


urlpatterns = [
    path("swallowing/", swallowing),
    path("thread/", in_another_thread),
    path("tasks/", in_tasks),
    path("own/", in_a_thread_of_its_own),
    path("reading/", only_reading),
    path("touching/", touching),
]


@pytest.fixture(autouse=True)
def site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["raftdjango.middleware.RetryMiddleware"]
    monkeypatch.setattr(retry_module.random, "uniform", lambda low, high: 0)
    runs.clear()
    Account.objects.create(name="ada", balance=0)
    yield


def balance() -> int:
    return Account.objects.get(name="ada").balance


@pytest.mark.parametrize("applied", [True, False])
def test_a_doubt_that_the_view_swallowed(applied: bool) -> None:
    with inject(uncertain, applied=applied), pytest.raises(TransactionConflict):
        Client().get("/swallowing/")
    assert (runs, balance()) == ([0], int(applied))


def ask(where: str) -> bytes:
    async def asking() -> bytes:
        return (await AsyncClient().get(where)).content

    return asyncio.run(asking())


@pytest.mark.parametrize("where", ["/thread/", "/tasks/", "/own/"])
def test_what_other_threads_and_tasks_have_committed(where: str) -> None:
    with pytest.raises(TransactionConflict):
        ask(where)
    assert runs == [0]


def test_what_they_read_is_read_again() -> None:
    assert ask("/reading/") == b"answered"
    assert runs == [0, 1]


def test_what_they_lost_is_tried_again() -> None:
    with inject(conflict):
        assert ask("/blocks/") == b"deposited"
    assert balance() == 1


def block() -> None:
    with transaction.atomic():
        deposit()


async def in_a_block_elsewhere(request: HttpRequest) -> HttpResponse:
    await sync_to_async(block)()
    return HttpResponse("deposited")


urlpatterns.append(path("blocks/", in_a_block_elsewhere))


@pytest.mark.parametrize("parse", [True, False])
@pytest.mark.parametrize("upload", [True, False])
def test_a_request_is_as_it_was(
    settings: Any, monkeypatch: pytest.MonkeyPatch, parse: bool, upload: bool
) -> None:
    monkeypatch.setattr(Before, "parse", parse)
    monkeypatch.setattr(Before, "trails", [])
    settings.MIDDLEWARE = [f"{__name__}.Before", *settings.MIDDLEWARE]
    if upload:
        form: Any = {"n": "1", "file": SimpleUploadedFile("a.txt", b"contents")}
        Client().post("/touching/?n=2", form)
    else:
        Client().post("/touching/?n=2", "n=1", content_type="application/x-www-form-urlencoded")
    first = (None, ["1"], ["2"], [b"contents"] if upload else [], ["before"], (0, 0), None)
    assert runs == [first] * 3


def test_what_is_everybodys_stays_as_it_is(settings: Any) -> None:
    everybodys: dict[str, Any] = {"of": ["before"]}
    everybodys["itself"] = everybodys

    class Sharing(Before):
        def __call__(self, request: Any) -> Any:
            inner = self.get_response

            def get_response(request: Any) -> Any:
                request.trail = everybodys
                return inner(request)

            self.get_response = get_response
            return super().__call__(request)

    globals()["Sharing"] = Sharing
    settings.MIDDLEWARE = [f"{__name__}.Sharing", *settings.MIDDLEWARE]
    Client().post("/touching/?n=2", {"n": "1"})
    assert everybodys["of"] == ["before", "changed"], "as the first run left it"
    assert [run[4] for run in runs] == [["before"]] * 3


def test_a_form_that_a_middleware_has_put_there(settings: Any) -> None:
    class Cleaning(Before):
        parse = False

        def __call__(self, request: Any) -> Any:
            request.POST = QueryDict("n=cleaned")
            return super().__call__(request)

    globals()["Cleaning"] = Cleaning
    settings.MIDDLEWARE = [f"{__name__}.Cleaning", *settings.MIDDLEWARE]
    Client().post("/touching/?n=2", "n=1", content_type="application/x-www-form-urlencoded")
    assert [run[1] for run in runs][1:] == [runs[0][1]] * 2
