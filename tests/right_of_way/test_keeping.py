"""The lock is nobody's but the applier's while a commit that holds up others is on its way."""

from __future__ import annotations

from raftdjango.right_of_way.keeping import KEPT_NS, Keeping
from raftdjango.right_of_way.lock_file import RightOfWay
from tests.right_of_way.processes import DEADLINE_S, Start

TRY = """
    say("ready")
    while sys.stdin.readline():
        say(right.is_free)
        say(right.acquire(lambda: True, 0.02))
"""


def test_no_process_takes_it_meanwhile(right: RightOfWay, start: Start) -> None:
    other = start(TRY)
    assert other.hear() == "ready"
    with right.keeping.kept():
        assert not right.is_free
        assert not right.acquire(lambda: True, 0.02)
        other.tell()
        assert (other.hear(), other.hear()) == ("False", "False")
        with right.wanted():  # the applier is not held up
            assert right.waited_ms() >= 0
    other.tell()
    assert (other.hear(), other.hear()) == ("True", "True")
    assert right.acquire(lambda: True, DEADLINE_S)


def test_it_is_not_kept_for_ever() -> None:
    now = [5 * KEPT_NS]
    keeping = Keeping([0], lambda: now[0])
    with keeping.kept():
        assert keeping
        now[0] += KEPT_NS
        assert not keeping, "whoever kept it may be dead"
        now[0] -= 2 * KEPT_NS
        assert not keeping, "of before a reboot"


def test_of_two_the_later_one_counts() -> None:
    now = [5 * KEPT_NS]
    keeping = Keeping([0], lambda: now[0])
    first, second = keeping.kept(), keeping.kept()
    first.__enter__()
    now[0] += 1
    second.__enter__()
    first.__exit__(None, None, None)
    assert keeping
    second.__exit__(None, None, None)
    assert not keeping
