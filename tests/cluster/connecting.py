"""What workers do with connections: threads, children, coroutines."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.db import connection, connections, transaction
from django.db.models import F

from tests.cluster.project.models import Account, Item


def in_child(work: Callable[[], Any]) -> Callable[[], Any]:
    """Fork, have the child do it; a function that awaits its answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            try:
                answer: Any = work()
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            with os.fdopen(writing, "w") as pipe:
                json.dump(answer, pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)

    def result() -> Any:
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        assert os.waitpid(child, 0)[1] == 0
        return json.loads(text)

    return result


def create(prefix: str, count: int) -> list[int]:
    return [Item.objects.create(name=f"{prefix}-{n}").pk for n in range(count)]


def forked(prefix: str, children: int) -> dict[str, Any]:
    """Use everything, fork, and have parent and children write at once."""
    before = create(f"{prefix} before", 3)  # A block of keys is at hand, and the channel is open.
    rows = list(Item.objects.iterator(chunk_size=1))
    assert rows
    ours = connection.connection

    def write(name: str) -> Callable[[], Any]:
        def work() -> Any:
            other = connection.connection is not ours
            keys = create(name, 20)
            with transaction.atomic():
                Item.objects.filter(pk=keys[0]).update(value=1)
                keys += create(f"{name} in a block", 3)
            return [other, keys]

        return work

    results = [in_child(write(f"{prefix} child {n}")) for n in range(children)]
    mine = create(f"{prefix} parent", 20)
    theirs = [result() for result in results]
    return {
        "others": [other for other, _ in theirs],
        "keys": [before + mine, *(keys for _, keys in theirs)],
        "same": connection.connection is ours,
    }


def forked_in_a_block(name: str) -> dict[str, Any]:
    """The block is the parent's: the child can do nothing in it, and does it no harm."""
    with transaction.atomic():
        Item.objects.create(name=f"{name} parent")

        def work() -> list[int]:
            return create(f"{name} child", 1)

        child = in_child(work)()
        Item.objects.filter(name=f"{name} parent").update(value=7)
    return {"child": child, "after": in_child(lambda: create(f"{name} later", 1))()}


def closed_in_a_block(name: str) -> list[str]:
    """Nothing of the block is written; the connection is a new one behind it."""
    errors = []
    try:
        with transaction.atomic():
            Item.objects.create(name=f"{name} lost")
            connection.close()
            try:
                Item.objects.create(name=f"{name} lost as well")
            except Exception as error:
                errors.append(type(error).__name__)
                raise
    except Exception as error:
        errors.append(type(error).__name__)
    Item.objects.create(name=f"{name} behind")
    return errors


def thread_ends_in_a_block(name: str) -> None:
    """Without a word: the write lock must not stay with it."""

    def work() -> None:
        connection.set_autocommit(False)
        Item.objects.create(name=f"{name} lost")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    Item.objects.create(name=f"{name} behind")


def persistent(requests: int) -> list[Any]:
    """Requests with CONN_MAX_AGE: one connection serves all, unless it is too old or broken."""
    seen = set()
    settings = connection.settings_dict
    before, settings["CONN_MAX_AGE"] = settings["CONN_MAX_AGE"], None
    try:
        connection.close()
        for n in range(requests):
            request_started.send(None)
            Item.objects.create(name=f"request {n}")
            seen.add(id(connection.connection))
            request_finished.send(None)
        kept = connection.connection is not None
        settings["CONN_MAX_AGE"] = 0
        connection.close()
        request_started.send(None)
        Item.objects.create(name="last request")
        request_finished.send(None)
        return [len(seen), kept, connection.connection is None]
    finally:
        settings["CONN_MAX_AGE"] = before


def many_threads(prefix: str, count: int) -> list[list[int]]:
    """Each with a connection of its own, in blocks and out of them, all at once."""
    made: list[list[int]] = [[] for _ in range(count)]
    start = threading.Barrier(count)

    def work(number: int) -> None:
        try:
            start.wait()
            made[number] = create(f"{prefix} {number}", 5)
            Account.objects.filter(name=prefix).update(balance=F("balance") + 1)
        finally:
            connections.close_all()

    Account.objects.create(name=prefix)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made


def asynchronous(prefix: str) -> list[Any]:
    """Django's asynchronous ORM, and synchronous code in the one thread or in any."""

    def block(name: str) -> int:
        try:
            with transaction.atomic():
                item = Item.objects.create(name=name)
                Item.objects.filter(pk=item.pk).update(value=5)
            return item.pk
        finally:
            if threading.current_thread() is not threading.main_thread():
                connection.close()

    async def main() -> list[int]:
        first = await Item.objects.acreate(name=f"{prefix} acreate")
        again = await Item.objects.aget(pk=first.pk)
        again.value = 5
        await again.asave()
        keys = [first.pk, await sync_to_async(block)(f"{prefix} sensitive")]
        keys += await asyncio.gather(
            *(sync_to_async(block, thread_sensitive=False)(f"{prefix} any {n}") for n in range(4))
        )
        made = await Item.objects.abulk_create([Item(name=f"{prefix} bulk", value=5)])
        async for item in Item.objects.filter(pk__in=[*keys, made[0].pk]):
            assert item.value == 5
        return [*keys, made[0].pk]

    keys = asyncio.run(main())
    return [keys, Item.objects.filter(pk__in=keys, value=5).count()]


__all__ = [
    "asynchronous",
    "closed_in_a_block",
    "forked",
    "forked_in_a_block",
    "many_threads",
    "persistent",
    "thread_ends_in_a_block",
]
