"""A line of processes: order, absence, and how often who waits has to look."""

from __future__ import annotations

import pytest

from raftdjango.right_of_way.line import ABSENT_NS, GONE_NS, PAUSE_S_MAX, PAUSE_S_MIN, Line, Wait

SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line(clock: Clock) -> Line:
    return Line(memoryview(bytearray(8 * 2 * 50)).cast("Q"), clock)


def test_the_older_ticket_goes_first(line: Line) -> None:
    assert line.is_empty
    assert line.ahead(7, since_ns=500) == 0
    assert line.ahead(3, since_ns=600) == 1
    assert line.ahead(9, since_ns=550) == 1
    assert line.ahead(3, since_ns=600) == 2
    line.leave(7)
    assert line.ahead(9, since_ns=550) == 0
    line.leave(9)
    line.leave(3)
    assert line.is_empty


def test_of_two_that_came_together_one_goes_first(line: Line) -> None:
    line.ahead(1, since_ns=500)
    assert (line.ahead(2, since_ns=500), line.ahead(1, since_ns=500)) == (1, 0)


def test_who_does_not_look_is_passed_by_and_comes_back_to_his_place(
    line: Line, clock: Clock
) -> None:
    line.ahead(1, since_ns=500)
    clock.now += ABSENT_NS - 1
    assert line.ahead(2, since_ns=600) == 1
    clock.now += 1
    assert line.ahead(2, since_ns=600) == 0
    assert line.ahead(1, since_ns=500) == 0
    assert line.ahead(2, since_ns=600) == 1


@pytest.mark.parametrize("elapsed_ns", [GONE_NS, -SECOND])
def test_tickets_of_the_dead_and_of_before_a_reboot_are_thrown_away(
    line: Line, clock: Clock, elapsed_ns: int
) -> None:
    line.ahead(1, since_ns=500)
    clock.now += elapsed_ns
    assert line.ahead(2, since_ns=600) == 0
    line.leave(2)
    assert line.is_empty


def test_the_next_look_comes_after_half_of_the_wait(line: Line, clock: Clock) -> None:
    for place in range(10):
        line.ahead(place, since_ns=500 + place)
    wait = Wait(line, 20, 900)
    assert 0 < wait.look() <= PAUSE_S_MAX
    for place in range(5):
        clock.now += SECOND // 500
        line.leave(place)
    assert wait.look() == pytest.approx(5 * 0.002 / 2)
    for place in range(5, 9):
        line.leave(place)
    assert PAUSE_S_MIN <= wait.look() < 0.002
    line.leave(9)
    assert wait.look() == 0.0
    wait.end()
    assert line.is_empty
