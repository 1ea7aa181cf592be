"""Whoever has written sees it on every machine: the place in the log goes with the client."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core import signing
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings

from raftdjango.consistency import last_write
from raftdjango.consistency.recording import recording
from raftdjango.middleware import ReadYourWritesMiddleware
from raftdjango.middleware.read_your_writes import SALT
from tests.backend.consistency_support import Node, balance, clock, node
from tests.backend.helpers import applied_index
from tests.backend.models import Account

__all__ = ["clock", "node"]
committed = pytest.mark.django_db(transaction=True)
COOKIE = ReadYourWritesMiddleware.cookie_name


def reads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(balance()))


def writes(request: HttpRequest) -> HttpResponse:
    Account.objects.filter(name="ada").update(balance=5)
    return HttpResponse("written")


def request(*, token: str = "", cookie: str = "", secure: bool = False) -> HttpRequest:
    made = RequestFactory().get(
        "/", secure=secure, headers={"Raft-Position": token} if token else {}
    )
    if cookie:
        made.COOKIES[COOKIE] = cookie
    return made


def answer(view: Any, middleware: Any = ReadYourWritesMiddleware, **how: Any) -> HttpResponse:
    return middleware(view)(request(**how))


def token_of(index: int, *, cluster: str = "", group: str = "default", salt: str = SALT) -> str:
    return signing.dumps([(cluster, group, index)], salt=salt)


def positions(response: HttpResponse) -> dict[str, int]:
    token = response.headers["Raft-Position"]
    return {group: index for _, group, index in signing.loads(token, salt=SALT)}


@committed
def test_a_response_to_a_write_says_where_it_is(node: Node) -> None:
    response = answer(writes)
    assert positions(response) == {"default": applied_index()} == {"default": last_write("default")}
    cookie = response.cookies[COOKIE]
    assert cookie.value == response.headers["Raft-Position"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert cookie["max-age"] == ReadYourWritesMiddleware.max_age_s
    assert not cookie["secure"]
    assert answer(writes, secure=True).cookies[COOKIE]["secure"]
    with override_settings(SESSION_COOKIE_SECURE=True):
        assert answer(writes).cookies[COOKIE]["secure"], "a proxy may end TLS unsaid"


@committed
def test_a_response_to_a_read_says_nothing(node: Node) -> None:
    for response in (answer(reads), answer(reads, token=token_of(applied_index()))):
        assert "Raft-Position" not in response.headers
        assert not response.cookies
    assert node.asked == []


@committed
@pytest.mark.parametrize("way", ["token", "cookie"])
def test_who_brings_it_back_sees_what_was_written(node: Node, way: str) -> None:
    assert answer(reads).content == b"0"
    assert answer(reads, **{way: token_of(applied_index() + 1)}).content == b"7"
    assert len(node.asked) == 1


@committed
def test_the_later_of_both_counts(node: Node) -> None:
    index = applied_index()
    assert answer(reads, token=token_of(1), cookie=token_of(index + 1)).content == b"7"
    node.behind(lambda: Account.objects.update(balance=8))
    assert answer(reads, token=token_of(index + 2), cookie=token_of(1)).content == b"8"


@committed
def test_what_asks_for_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    index = applied_index() + 1
    good = token_of(index)
    ignored = {
        "forged": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "signed for something else": token_of(index, salt="another"),
        "of another cluster": token_of(index, cluster="ab" * 16),
        "of a group that is not here": token_of(index, group="elsewhere"),
        "not a token": "17",
        "too long": "x" * 10_000,
        "no index": signing.dumps([("", "default", "many")], salt=SALT),
        "not a place": signing.dumps([17], salt=SALT),
        "nothing": signing.dumps(17, salt=SALT),
        "below zero": signing.dumps([("", "default", -1)], salt=SALT),
    }
    for name, token in ignored.items():
        assert answer(reads, token=token).content == b"0", name
        assert answer(reads, cookie=token).content == b"0", name
    with override_settings(SECRET_KEY="another"):
        assert answer(reads, token=good).content == b"0"

    assert node.asked == []
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["tests"]):
        assert answer(reads, token=good).content == b"7"


@committed
@pytest.mark.parametrize("hours", [-24, 24])
def test_the_clock_of_the_machine_that_told_it_does_not_matter(node: Node, hours: int) -> None:
    here = time.time  # noqa: TID251 - a wall clock that is wrong
    with mock.patch("time.time", lambda: here() + hours * 3600):
        token = token_of(applied_index() + 1)
    assert answer(reads, token=token).content == b"7"


@committed
def test_a_forged_cookie_is_not_passed_on(node: Node) -> None:
    response = answer(writes, cookie=token_of(10**6, cluster="ab" * 16))
    assert positions(response) == {"default": applied_index()}
    assert len(signing.loads(response.cookies[COOKIE].value, salt=SALT)) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_what_was_seen_of_other_databases_is_kept() -> None:
    Account.objects.create(name="ada")
    Account.objects.using("other").create(name="ada")
    index = last_write("other")
    seen = signing.dumps([("", "default", 1), ("", "other", index)], salt=SALT)
    assert positions(answer(writes, token=seen)) == {"default": applied_index(), "other": index}


@committed
def test_a_machine_that_does_not_catch_up_answers_503(node: Node) -> None:
    never = token_of(10**9)
    called: list[Any] = []
    response = answer(called.append, token=never)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert b"does not show your last change yet" in response.content
    assert called == []
    assert node.asked[0] <= ReadYourWritesMiddleware.wait_s_max
    node.down = True
    assert answer(called.append, token=never).status_code == 503
    assert answer(reads, token=token_of(applied_index())).status_code == 200


@committed
def test_it_may_speak_of_reads_too(node: Node) -> None:
    class Always(ReadYourWritesMiddleware):
        always = True

    response = answer(reads, Always)
    assert positions(response)["default"] == applied_index()
    assert positions(answer(reads, Always, token=token_of(0)))["default"] == applied_index()


@committed
def test_it_may_do_without_a_cookie(node: Node) -> None:
    class Api(ReadYourWritesMiddleware):
        cookie_name = None

    response = answer(writes, Api)
    assert "Raft-Position" in response.headers
    assert not response.cookies
    assert answer(reads, Api, cookie=token_of(10**9)).status_code == 200


@committed
def test_asynchronous_views(node: Node) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        if request.method == "POST":
            await Account.objects.acreate(name="bob")
        account = await Account.objects.aget(name="ada")
        return HttpResponse(str(account.balance))

    middleware = ReadYourWritesMiddleware(view)
    assert iscoroutinefunction(middleware)
    factory = AsyncRequestFactory()
    headers = {"Raft-Position": token_of(applied_index() + 1)}

    async def both() -> list[HttpResponse]:
        return [
            await middleware(factory.get("/")),
            await middleware(factory.get("/", headers=headers)),
            await middleware(factory.post("/")),
            await middleware(factory.get("/", headers={"Raft-Position": token_of(10**9)})),
        ]

    first, second, third, fourth = async_to_sync(both)()
    assert (first.content, second.content) == (b"0", b"7")
    assert "Raft-Position" not in first.headers
    assert positions(third) == {"default": applied_index()}
    assert fourth.status_code == 503


@committed
def test_a_synchronous_view_below_asynchronous_middleware(node: Node) -> None:
    from asgiref.sync import sync_to_async

    middleware = ReadYourWritesMiddleware(sync_to_async(writes))
    response = async_to_sync(middleware)(AsyncRequestFactory().get("/"))
    assert positions(response) == {"default": applied_index()}


@pytest.mark.django_db
def test_in_a_test_case() -> None:
    Account.objects.create(name="ada")
    response = answer(writes)
    assert answer(reads, token=response.headers["Raft-Position"]).content == b"5"


@committed
def test_recorders_may_be_nested() -> None:
    with recording() as outer, recording() as inner:
        Account.objects.create(name="ada")
    assert outer == inner == {"default": applied_index()}


@committed
def test_without_a_database_of_a_cluster_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node has never run: what is asked for cannot be of it."""
    from raftdjango.middleware import read_your_writes

    monkeypatch.setattr(read_your_writes, "STATE_SQL", "SELECT 1 FROM nowhere")
    connection.ensure_connection()
    assert (
        answer(lambda request: HttpResponse("ok"), token=token_of(5, cluster="ab")).content == b"ok"
    )
