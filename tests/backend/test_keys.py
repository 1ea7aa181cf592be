"""Blocks of keys: no key is given twice, whoever draws, and keys in use are skipped."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from raftdjango.backends import keys as module
from raftdjango.backends.keys import KeyAllocator, allocator_of


class Node:
    """Leases as a raftnode does: each block behind the last, `spare` keys more than asked for."""

    def __init__(self, spare: int = 0) -> None:
        self.spare = spare
        self.next_key = 1
        self.asked: list[tuple[str, int]] = []
        self.after: list[int] = []
        self._lock = threading.Lock()

    def lease_keys(
        self, table: str, number: int, *, timeout_s: float, after: int = 0, above: int = 0
    ) -> range:
        with self._lock:
            self.asked.append((table, number))
            self.after.append(after)
            first = self.next_key
            self.next_key += number + self.spare
            return range(first, self.next_key)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the allocator must not call {name}")


def take(allocator: KeyAllocator, node: Any, number: int, **options: Any) -> list[int]:
    return allocator.take(node, "t", number, timeout_s=1, **options)


def test_a_first_take_leases_exactly_what_is_needed() -> None:
    node, allocator = Node(), KeyAllocator()
    assert take(allocator, node, 3) == [1, 2, 3]
    assert take(allocator, node, 1) == [4]
    assert node.asked == [("t", 3), ("t", 1)]


def test_what_a_lease_has_more_is_kept() -> None:
    node, allocator = Node(spare=2), KeyAllocator()
    assert take(allocator, node, 1) == [1]
    assert take(allocator, node, 2) == [2, 3]
    assert node.asked == [("t", 1)]


def test_blocks_fed_are_used_before_the_node_is_asked() -> None:
    node, allocator = Node(), KeyAllocator()
    allocator.feed({"t": range(100, 103), "u": range(7, 8)})
    assert take(allocator, node, 2) == [100, 101]
    assert take(allocator, node, 3) == [102, 1, 2]
    assert node.asked == [("t", 2)]


def test_stock_alone_gives_what_it_has() -> None:
    allocator = KeyAllocator()
    allocator.feed({"t": range(5, 7)})
    assert allocator.take_stocked("t", 3) == [5, 6]
    assert allocator.take_stocked("t", 3) == []


def test_keys_chosen_by_others_are_skipped() -> None:
    node, allocator = Node(), KeyAllocator()
    allocator.feed({"t": range(10, 20)})
    used = {12, 14}

    def probe(first: int, last: int) -> int | None:
        return max((key for key in used if first <= key <= last), default=None)

    assert take(allocator, node, 2, probe=probe) == [10, 11]
    assert take(allocator, node, 1, probe=probe) == [13]
    assert take(allocator, node, 3, probe=probe) == [15, 16, 17]
    assert node.asked == []


def test_a_lease_full_of_used_keys_is_followed_by_another() -> None:
    node, allocator = Node(), KeyAllocator()
    assert take(allocator, node, 2, probe=lambda first, last: last if first == 1 else None) == [
        3,
        4,
    ]


def test_a_collision_skips_the_rest_before_it() -> None:
    allocator = KeyAllocator()
    allocator.feed({"t": range(10, 20)})
    allocator.feed({"t": range(30, 32)})
    allocator.skip_past("t", 17)
    assert allocator.take_stocked("t", 9) == [18, 19, 30, 31]


def test_reset_forgets() -> None:
    allocator = KeyAllocator()
    allocator.feed({"t": range(5), "u": range(5)})
    allocator.reset()
    assert allocator.take_stocked("t", 1) == []
    assert allocator.take_stocked("u", 1) == []


def test_keys_of_an_older_schema_are_thrown_away() -> None:
    """Its last statements may have reset the sequence."""
    node, allocator = Node(), KeyAllocator()
    allocator.feed({"t": range(100, 110)}, 5)
    assert allocator.take_stocked("t", 1, version=5) == [100]
    assert allocator.take_stocked("t", 1, version=8) == []
    allocator.feed({"t": range(200, 210)}, 5)
    assert take(allocator, node, 1, version=8) == [1], "asked for before, and come too late"
    assert node.after == [8]


def test_a_thread_that_lags_gets_keys_of_its_own_and_spoils_none() -> None:
    """Its write-set will be a conflict; keys of the newer schema do no harm in it."""
    node, allocator = Node(), KeyAllocator()
    allocator.feed({"t": range(100, 110)}, 8)
    assert take(allocator, node, 1, version=5) == [100]
    assert take(allocator, node, 1, version=8) == [101]


def test_tables_in_use_are_asked_for_until_a_block_comes() -> None:
    node, allocator = Node(), KeyAllocator()
    assert allocator.wanted() == {}
    take(allocator, node, 1)
    assert allocator.wanted() == {"t": module.BLOCK_MIN}
    assert allocator.wanted() == {}, "asked for once per use, or every thread would ask"
    allocator.feed({"t": range(100, 100 + module.BLOCK_MIN)})
    take(allocator, node, 1)
    assert allocator.wanted() == {}, "there is plenty"


def test_blocks_grow_with_use_and_shrink_with_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    node, allocator = Node(), KeyAllocator()

    def refill() -> int:
        allocator.take_stocked("t", 2000)
        (size,) = allocator.wanted().values()
        allocator.feed({"t": range(size)})
        return size

    refill()
    sizes = [refill() for _ in range(9)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == module.BLOCK_MAX
    now += module.SHRINK_S + 1
    refill()
    assert refill() == module.BLOCK_MAX // 2
    assert take(allocator, node, 1)


def test_keys_above_another_are_taken_out_of_the_middle() -> None:
    node, allocator = Node(), KeyAllocator()
    allocator.feed({"t": range(10, 14)}, 3)
    allocator.feed({"t": range(20, 40)}, 3)

    def above(key: int, count: int, version: int = 3) -> range:
        return allocator.take_above(node, "t", count, above=key, timeout_s=1, version=version)

    assert above(11, 2) == range(12, 14)
    assert above(11, 2) == range(20, 22)
    assert above(30, 5) == range(31, 36)
    assert above(39, 5) == range(1, 6), "of the node, as it says"
    assert node.asked == [("t", 5)]
    assert allocator.wanted() == {}
    assert allocator.take_stocked("t", 99, version=3) == [10, 11, *range(22, 31), *range(36, 40)]
    assert above(0, 1) == range(6, 7)
    assert list(allocator.wanted()) == ["t"]
    allocator.feed({"t": range(50, 60)}, 3)
    assert above(0, 1, version=4) == range(7, 8), "those are of an older schema"
    assert node.after == [3, 3, 4]


@pytest.mark.parametrize("spare", [0, 5])
def test_many_threads_never_draw_the_same_key(spare: int) -> None:
    node, allocator = Node(spare), KeyAllocator()
    drawn: list[list[int]] = [[] for _ in range(8)]
    start = threading.Barrier(len(drawn))

    def draw(mine: list[int]) -> None:
        start.wait()
        for number in range(300):
            mine.extend(take(allocator, node, 1 + number % 3))

    threads = [threading.Thread(target=draw, args=(mine,)) for mine in drawn]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = [key for mine in drawn for key in mine]
    assert len(every) == 8 * 600
    assert len(set(every)) == len(every)


def test_a_forked_child_gives_no_key_of_its_parent() -> None:
    script = """
import os
from raftdjango.backends.keys import KeyAllocator
allocator = KeyAllocator()
allocator.feed({"t": range(1, 100)})
child = os.fork()
if child:
    os.waitpid(child, 0)
print(allocator.take_stocked("t", 1), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "[1]"]


def test_connections_of_an_alias_share_one_allocator() -> None:
    assert allocator_of("default") is allocator_of("default")
    assert allocator_of("default") is not allocator_of("other")
