"""Requests that are a block in each of three databases.

`ATOMIC_REQUESTS` ends the blocks in the order of `DATABASES`: default, ledger, plain.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from tests.cluster.several.models import Entry, Order, Visit

hooks: list[str] = []
runs: list[str] = []


def write(name: str) -> None:
    """The same in all databases, with a hook for each."""
    Visit.objects.create(name=name)
    write_replicated(name)
    for alias in ("plain", "ledger", "default"):
        transaction.on_commit(partial(hooks.append, alias), using=alias)


def write_replicated(name: str) -> None:
    for model in (Order, Entry):
        model.objects.get_or_create(name=name)
        model.objects.filter(name=name).update(changes=F("changes") + 1)


def add(request: HttpRequest, name: str) -> HttpResponse:
    runs.append(name)
    write(name)
    return HttpResponse(name)


def pair(request: HttpRequest, name: str) -> HttpResponse:
    """Without the plain database, whose lock would have such requests come one after the other."""
    runs.append(name)
    write_replicated(name)
    return HttpResponse(name)


def show(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse(
        [model.objects.filter(name=name).count() for model in (Order, Entry)], safe=False
    )


def wait(request: HttpRequest) -> None:
    """Until the test has done what it has to do meanwhile; in the first run only."""
    started, go_on = Path(request.GET["started"]), Path(request.GET["go_on"])
    if not started.exists():
        started.touch()
        while not go_on.exists():
            time.sleep(0.005)


def held(request: HttpRequest, name: str) -> HttpResponse:
    """Something happens while all blocks have written."""
    runs.append(name)
    write(name)
    wait(request)
    return HttpResponse(name)


def between(request: HttpRequest, name: str) -> HttpResponse:
    """Something happens when the first block is committed, and the others are not."""
    runs.append(name)
    write(name)
    transaction.on_commit(partial(wait, request), using="default")
    return HttpResponse(name)


views: list[Callable[..., HttpResponse]] = [add, pair, show, held, between]
urlpatterns = [path(f"{view.__name__}/<str:name>", view) for view in views]
