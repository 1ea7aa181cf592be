"""Scripts of workers that read what other nodes have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from raftdjango.consistency import bounded, linearizable, local
from raftdjango.middleware import ReadYourWritesMiddleware
from tests.cluster.project.models import Item

LEVELS: dict[str, Any] = {
    "linearizable": linearizable,
    "linearizable, soon": lambda: linearizable(timeout_s=2),
    "bounded": lambda: bounded(3600),
    "local": local,
}


def write_value(name: str, value: int) -> None:
    Item.objects.update_or_create(name=name, defaults={"value": value})


def read_value(name: str, level: str, *, block: bool = False) -> int:
    """What a read of this level shows; 0 where there is no such row."""
    with LEVELS[level]():
        if block:
            with transaction.atomic():
                return sum(Item.objects.filter(name=name).values_list("value", flat=True))
        return sum(Item.objects.filter(name=name).values_list("value", flat=True))


def count_up_writing_down(stop_file: str, name: str, told_file: str) -> int:
    """Write 1, 2, ...; each is told in a file once it is acknowledged."""
    value = 0
    told = Path(told_file)
    while not Path(stop_file).exists():
        value += 1
        write_value(name, value)
        partial = told.with_suffix(".new")
        partial.write_text(str(value))
        partial.replace(told)
    return value


def read_after(stop_file: str, name: str, told_file: str) -> list[list[int]]:
    """Linearizable reads: what had been told before each, and what it showed."""
    seen = []
    told = Path(told_file)
    while not Path(stop_file).exists():
        before = int(told.read_text()) if told.exists() else 0
        seen.append([before, read_value(name, "linearizable")])
    return seen


def request(method: str, name: str, token: str) -> list[Any]:
    """A request to this machine's site: status, body and the token that comes back."""

    def view(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            write_value(name, read_value(name, "local") + 1)
        return HttpResponse(str(read_value(name, "local")))

    headers = {"Raft-Position": token} if token else {}
    made = getattr(RequestFactory(), method.lower())("/", headers=headers)
    response = ReadYourWritesMiddleware(view)(made)
    return [response.status_code, response.content.decode(), response.headers.get("Raft-Position")]
