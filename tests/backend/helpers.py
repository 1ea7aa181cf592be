"""What several of the backend's tests need: other connections, threads, and a look at the entries."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connection, connections

from raftdjango.testing.consensus import Consensus
from raftdjango.writeset import WriteSet, decode_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from raftdjango.writeset import Operation

_far_keys = itertools.count(10**9, 10**6)


def far_key() -> int:
    """A key that nobody has: the tests before have been given more keys than they can count."""
    return next(_far_keys)


def elsewhere(function: Callable[[], Any]) -> Any:
    """Run `function` in another thread, so on other connections, and wait for it; its result."""
    result: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the other thread hangs"
    if errors:
        raise errors[0]
    return result[0]


def together(function: Callable[[int], Any], count: int) -> list[Any]:
    """Run `function(0)` to `function(count - 1)` in a thread each, at once; their results."""
    results: list[Any] = [None] * count
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait(60)
            results[number] = function(number)
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]
    return results


@contextmanager
def entries(alias: str = DEFAULT_DB_ALIAS) -> Iterator[list[WriteSet]]:
    """Collects the write-sets that are applied meanwhile, by whatever connection."""
    consensus = Consensus.of(str(connections[alias].settings_dict["NAME"]))
    found: list[WriteSet] = []
    apply_batch = consensus.applier.apply_batch

    def noting(batch: Any) -> Any:
        for entry in batch:
            body = decode_command(entry.command).body
            if isinstance(body, WriteSet):
                found.append(body)
        return apply_batch(batch)

    consensus.applier.apply_batch = noting
    try:
        yield found
    finally:
        consensus.applier.apply_batch = apply_batch


def kinds(write_set: WriteSet) -> list[str]:
    """Names of the operations' kinds, in order."""
    return [type(operation).__name__ for operation in write_set.operations]


def only(write_sets: list[WriteSet]) -> tuple[Operation, ...]:
    """The operations of the only write-set."""
    (write_set,) = write_sets
    return write_set.operations


def raw(sql: str, params: Any = None) -> Any:
    """Execute SQL; the rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else None


def applied_index() -> int:
    """As the local database has it."""
    return int(raw("SELECT applied_index FROM raftdjango_state")[0][0])
