"""What workers do with several databases.  Arguments and results are JSON."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.db import connections, transaction
from django.test import Client

from tests.cluster.several import views
from tests.cluster.several.models import Entry, Order, Visit


def migrate_aliases(*aliases: str) -> None:
    for alias in aliases:
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)


def request(method: str, path: str, token: str = "", **query: Any) -> dict[str, Any]:
    """A request to this machine's site: what came back, and what happened on the way."""
    views.hooks.clear()
    views.runs.clear()
    client = Client(raise_request_exception=False)
    headers = {"Raft-Position": token} if token else {}
    response = getattr(client, method)(path, headers=headers, query_params=query)
    error = getattr(response, "exc_info", None) or client.exc_info
    return {
        "status": response.status_code,
        "content": response.content.decode(),
        "token": response.headers.get("Raft-Position", ""),
        "error": [cls.__name__ for cls in type(error[1]).__mro__] if error else [],
        "notes": " ".join(getattr(error[1], "__notes__", [])) if error else "",
        "runs": len(views.runs),
        "hooks": list(views.hooks),
    }


def requests(paths: list[str]) -> list[int]:
    return [request("put", path)["status"] for path in paths]


def found(name: str) -> dict[str, list[int]]:
    """Of each database, how often the rows of this name were written; visits are this machine's."""
    models = {"default": Order, "ledger": Entry}
    changes = {
        alias: list(model.objects.filter(name=name).values_list("changes", flat=True))
        for alias, model in models.items()
    }
    return {**changes, "plain": [Visit.objects.filter(name=name).count()]}


def tables() -> dict[str, list[str]]:
    """Of the application, by database."""
    return {
        alias: sorted(
            name
            for name in connections[alias].introspection.table_names()
            if name.startswith("several_")
        )
        for alias in connections
    }


def change(model: str, name: str) -> None:
    (Order if model == "Order" else Entry).objects.filter(name=name).update(changes=100)


def nested(name: str) -> list[str]:
    """A block of one database inside of one of another: each is decided when it ends itself."""
    done: list[str] = []
    try:
        with transaction.atomic():
            Order.objects.create(name=name)
            transaction.on_commit(lambda: done.append("default"))
            with transaction.atomic(using="ledger"):
                Entry.objects.create(name=name)
                transaction.on_commit(lambda: done.append("ledger"), using="ledger")
                try:
                    with transaction.atomic(using="ledger"):
                        Entry.objects.create(name=f"{name} undone")
                        raise ValueError
                except ValueError:
                    pass
            done.append("inner one ended")
            raise ValueError
    except ValueError:
        done.append("outer one undone")
    return done
