"""Exceptions travel: copied, pickled, by their arguments alone, and what is in doubt stays resolvable."""

from __future__ import annotations

import copy
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, TestCase, TransactionTestCase
from django.urls import path

from raftdjango import exceptions
from raftdjango.client.uncertain import Uncertain
from raftdjango.exceptions import (
    CommitUncertain,
    ConstraintConflict,
    ReplicationError,
    TransactionConflict,
)
from raftdjango.testing.faults import inject, unavailable, uncertain
from raftdjango.transaction import resolve
from tests.backend.helpers import elsewhere
from tests.backend.models import Tag

WAYS: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    lambda error: pickle.loads(pickle.dumps(error)),
    lambda error: type(error)(*json.loads(json.dumps(error.args))),
]
KINDS = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]


@pytest.mark.parametrize("way", WAYS[:3])
@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if issubclass(kind, ReplicationError)], ids=lambda k: k.__name__
)
def test_every_exception_travels(kind: type[ReplicationError], way: Callable[[Any], Any]) -> None:
    error = kind("what happened")
    if isinstance(error, TransactionConflict):
        error = type(error)("what happened", table="t", key=(1, "b"), log_index=7, stale_read=True)
    error.add_note("a note")
    twin = way(error)
    assert (type(twin), str(twin)) == (kind, "what happened")
    assert vars(twin) == vars(error)


def test_a_lost_unique_race_is_among_them() -> None:
    assert {CommitUncertain, ConstraintConflict} <= set(KINDS)


class Doubts:
    """In Django's `TestCase` and outside of it."""

    def caught(self, *, applied: bool) -> CommitUncertain:
        with inject(uncertain, applied=applied), pytest.raises(CommitUncertain) as caught:
            with transaction.atomic():
                Tag.objects.create(slug="in doubt")
                Tag.objects.create(slug="as is this")
        return caught.value

    def test_it_can_be_resolved_wherever_it_came(self) -> None:
        for applied in (True, False):
            error = self.caught(applied=applied)
            assert "may or may not" in str(error)
            for way in WAYS:
                assert way(error).token == error.token
                assert way(error).resolve() is applied
            assert resolve(error.token, timeout_s=1) is applied
            Tag.objects.all().delete()


class TestInTestCase(Doubts, TestCase):
    pass


class TestOutside(Doubts, TransactionTestCase):
    def test_by_others(self) -> None:
        token = self.caught(applied=True).token
        assert elsewhere(lambda: resolve(token)) is True


def test_one_that_names_no_write_stays_unknown() -> None:
    assert CommitUncertain("who knows").resolve() is None


@pytest.mark.parametrize("alias", ["default", "with-dash", "with space\n"])
@pytest.mark.parametrize("cluster_id", [b"", b"\x01" * 16])
def test_tokens_are_read_back(alias: str, cluster_id: bytes) -> None:
    named = Uncertain(alias, b"\x02" * 24, 12345, cluster_id)
    assert Uncertain.parse(str(named)) == named


@pytest.mark.parametrize("wrong", ["", "default", "zz-1--default", "ab-1-", None, 5])
def test_what_is_no_token(wrong: Any) -> None:
    with pytest.raises(ValueError, match="not the token"):
        resolve(wrong)


def test_a_token_of_what_is_not_replicated() -> None:
    with pytest.raises((ValueError, ImproperlyConfigured), match="not replicated"):
        resolve(str(Uncertain("plain", b"\x02" * 24, 12345)))


def write(request: HttpRequest) -> HttpResponse:
    Tag.objects.create(slug="written")
    return HttpResponse("written")


urlpatterns = [path("write/", write)]


@pytest.mark.django_db(transaction=True)
def test_the_middleware_of_the_docs(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/ref/exceptions.md").read_text()
    (code,) = re.findall(r"```python\n(# myproject/middleware\.py\n.*?)```", page, re.DOTALL)
    asked: list[tuple[str, str, Any]] = []
    tasks: Any = ModuleType("myproject.tasks")
    tasks.find_out = SimpleNamespace(delay=lambda *args: asked.append(args))
    middleware = ModuleType("myproject.middleware")
    for module in (ModuleType("myproject"), tasks, middleware):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, vars(middleware))
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "myproject.middleware.ClusterMiddleware"]
    with inject(unavailable), inject(uncertain, applied=True):
        assert Client().get("/write/").headers["Retry-After"] == "2"
        response = Client().get("/write/")
    assert (response.status_code, "Retry-After" in response.headers) == (504, False)
    ((token, where, user),) = asked
    assert (where, user, resolve(token)) == ("/write/", None, True)
