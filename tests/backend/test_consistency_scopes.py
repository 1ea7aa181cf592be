"""Which level is in force: blocks and functions, nested, in threads and tasks, for one database or all."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from raftdjango.consistency import at_least, bounded, last_write, linearizable, local
from raftdjango.consistency.levels import parse_level
from raftdjango.consistency.scopes import in_force
from tests.backend.models import Tag


def level(alias: str = "default") -> str:
    scope = in_force(alias)
    return str(scope.level) if scope else "local"


def test_the_innermost_counts() -> None:
    assert level() == "local"
    with linearizable():
        assert level() == "linearizable"
        with bounded(2), local():
            assert level() == "local"
        with bounded(0.5):
            assert level() == "bounded by 0.5 s"
        assert level() == "linearizable"
    assert level() == "local"


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), linearizable():
        1 / 0
    assert level() == "local"


def test_it_may_concern_one_database() -> None:
    with linearizable("other"), at_least(5, "default"):
        assert (level("default"), level("other")) == ("at least 5", "linearizable")
    with linearizable(), local("other"):
        assert (level("default"), level("other")) == ("linearizable", "local")


def test_one_object_may_be_entered_many_times() -> None:
    fresh = linearizable()
    with fresh, local(), fresh:
        assert level() == "linearizable"
    assert level() == "local"


def test_blocks_may_end_in_another_order_than_they_began() -> None:
    def generator() -> Any:
        with bounded(1):
            yield level()

    def levels() -> Any:
        first = generator()
        next(first)
        with linearizable():
            assert list(first) == []
            yield level()
        yield level()

    assert list(levels()) == ["linearizable", "local"]
    with local(), linearizable():
        assert list(levels()) == ["linearizable", "linearizable"]


def test_other_threads_are_not_concerned() -> None:
    seen = []
    with linearizable():
        thread = threading.Thread(target=lambda: seen.append(level()))
        thread.start()
        thread.join(60)
    assert seen == ["local"]


def test_decorators() -> None:
    @linearizable
    def plain() -> str:
        return level()

    @bounded(3)
    def with_arguments(name: str, *, suffix: str) -> str:
        return level() + name + suffix

    @at_least(5, "default")
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return level() + await sync_to_async(level)()

    @local
    async def free() -> str:
        return level()

    assert plain() == "linearizable"
    assert with_arguments("a", suffix="b") == "bounded by 3 sab"
    assert asyncio.run(coroutine()) == "at least 5at least 5"
    with linearizable():
        assert asyncio.run(free()) == "local"
    assert (plain.__name__, coroutine.__name__) == ("plain", "coroutine")
    assert level() == "local"


def test_two_tasks_do_not_disturb_each_other() -> None:
    async def reads(how: Any) -> str:
        with how:
            await asyncio.sleep(0)
            return level()

    async def both() -> list[str]:
        return await asyncio.gather(reads(linearizable()), reads(bounded(1)))

    assert asyncio.run(both()) == ["linearizable", "bounded by 1 s"]


def test_generators_are_refused() -> None:
    def numbers() -> Any:
        yield 1

    async def more() -> Any:
        yield 1

    for function in (numbers, more):
        with pytest.raises(TypeError, match="after the block"):
            linearizable(function)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: bounded(0),
        lambda: bounded(-1),
        lambda: bounded(float("nan")),
        lambda: bounded(float("inf")),
        lambda: at_least(-1),
        lambda: at_least(1.5),  # type: ignore[arg-type]
        lambda: at_least(True),
        lambda: linearizable(timeout_s=0),
        lambda: parse_level("strong"),
        lambda: parse_level("bounded"),
        lambda: parse_level("bounded:"),
        lambda: parse_level("bounded:0"),
        lambda: parse_level("linearizable:1"),
    ],
)
def test_what_is_no_level(wrong: Any) -> None:
    with pytest.raises(ValueError):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: bounded("default"), r"bounded\(\) takes seconds first, not 'default'"),  # type: ignore[arg-type]
        (lambda: bounded(True), "seconds first"),
        (lambda: at_least("default"), "index first, not 'default'"),  # type: ignore[arg-type]
        (lambda: linearizable(timeout_s="5"), "a number of seconds, not '5'"),  # type: ignore[call-overload]
    ],
)
def test_arguments_in_the_wrong_place(wrong: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        wrong()


def test_what_is_no_replicated_database() -> None:
    with pytest.raises(ImproperlyConfigured, match="'plain' is not a replicated database"):
        linearizable("plain").__enter__()
    with pytest.raises(ImproperlyConfigured, match="several: default, other"):
        at_least(5).__enter__()
    with pytest.raises(ImproperlyConfigured, match="Say which"):
        last_write()


@pytest.mark.django_db(transaction=True)
def test_the_last_write_of_a_coroutine_is_what_it_awaited() -> None:
    async def task() -> int:
        await Tag.objects.acreate(slug="of a task")
        return last_write("default")

    async def coroutine() -> list[int]:
        await Tag.objects.acreate(slug="async")
        first = last_write("default")
        await sync_to_async(Tag.objects.create)(slug="elsewhere")
        second = last_write("default")
        return [first, second, *await asyncio.gather(task())]

    first, second, of_task = asyncio.run(coroutine())
    assert 0 < first < second < of_task
    assert of_task == connections["default"].replication.refresh()
