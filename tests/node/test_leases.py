"""Key leases: every key once, blocks at once where there are some, sizes that adapt."""

from __future__ import annotations

import pytest

from raftdjango.applier import Applied
from raftdjango.backends.sqlite3.statements.raw_keys import LEASED_MAX
from raftdjango.node.limits import KEY_BLOCK_COUNT_MAX, KEY_LEASE_COUNT_MIN
from raftdjango.node.writes.leases import LEASES_MAX, Leases
from raftdjango.node.writes.proposals import Reason, Refusal
from raftdjango.writeset import Verdict, VerdictKind, decode_command


class Log:
    """Stands for proposals: leases are granted when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.next_key = 1
        self.time = 100.0
        self.leases = Leases(self, cluster_time_ms=lambda: 0, now=lambda: self.time)

    def submit(self, proposal_id, command, *, deadline, settled):
        self.asked.append((decode_command(command).body, settled))

    def grant(self, index: int = 1) -> int:
        """Apply the oldest lease; its size."""
        lease, settled = self.asked.pop(0)
        verdict = Verdict(VerdictKind.APPLIED, first_key=self.next_key)
        self.next_key += lease.count
        settled(Applied(index, b"id", verdict, 0))
        return lease.count

    def refuse(self, end) -> None:
        self.asked.pop(0)[1](end)

    def lease(self, count: int, table: str = "t", **where: int):
        got = []
        self.leases.lease(table, count, deadline=self.time + 10, given=got.append, **where)
        return got


@pytest.fixture
def log() -> Log:
    return Log()


def test_nothing_at_hand_is_leased(log):
    got = log.lease(5)
    assert not got
    assert log.grant() == KEY_LEASE_COUNT_MIN
    assert got == [range(1, 6)]


def test_blocks_never_overlap(log):
    given = []
    for _ in range(200):
        got = log.lease(3)
        while not got:
            log.grant()
        given += got[0]
        if block := log.leases.take("t", 2):
            given += block
    assert len(given) == len(set(given))


def test_take_never_waits_and_asks_for_more(log):
    assert log.leases.take("t", 4) is None
    assert len(log.asked) == 1
    log.grant()
    assert log.leases.take("t", 4) == range(1, 5)


def test_one_lease_at_a_time_serves_all_who_wait(log):
    first, second = log.lease(10), log.lease(10)
    assert len(log.asked) == 1
    log.grant()
    assert first == [range(1, 11)]
    assert not second, "only 6 keys were left"
    log.grant()
    assert len(second[0]) == 10


def test_tables_have_their_own(log):
    log.lease(1, "a")
    log.lease(1, "b")
    assert [lease.table for lease, _ in log.asked] == ["a", "b"]


def test_more_than_a_lease_is_leased_in_one_piece(log):
    got = log.lease(1000)
    assert log.grant() == 1000
    assert got == [range(1, 1001)]


def test_no_block_is_longer_than_the_bound(log):
    got = log.lease(10 * KEY_BLOCK_COUNT_MAX)
    log.grant()
    assert len(got[0]) == KEY_BLOCK_COUNT_MAX


def test_leases_used_up_quickly_grow_and_lasting_ones_shrink(log):
    sizes = []
    for _ in range(4):
        while log.leases.take("t", 8):
            pass
        sizes.append(log.grant())
    assert sizes == sorted(set(sizes)), "each is larger"
    log.time += 1000
    while log.leases.take("t", 8):
        pass
    assert log.grant() < sizes[-1]


def test_a_refusal_reaches_who_waits_and_the_next_asks_again(log):
    got = log.lease(5)
    log.refuse(Refusal(Reason.UNAVAILABLE, "no leader"))
    assert got[0].reason is Reason.UNAVAILABLE
    again = log.lease(5)
    log.grant()
    assert again == [range(1, 6)]


def test_doubt_about_a_lease_is_no_doubt(log):
    """A lease that was made all the same is a gap in the keys and nothing worse."""
    got = log.lease(5)
    log.refuse(Refusal(Reason.UNCERTAIN, "?"))
    assert got[0].reason is Reason.UNAVAILABLE


def test_a_verdict_other_than_applied_is_told(log):
    got = log.lease(5)
    log.refuse(Applied(1, b"id", Verdict(VerdictKind.CONFLICT, message="no such table: t"), 0))
    assert "no such table" in got[0].message


def test_no_table_has_no_keys(log):
    """No node could apply such a lease: the cluster would stand still."""
    (refusal,) = log.lease(5, table="")
    assert isinstance(refusal, Refusal)
    assert log.leases.take("", 5) is None
    assert not log.asked


def test_after_statements_nothing_is_given_of_an_older_lease(log):
    """They may have reset the sequence, and then the same keys are leased anew, perhaps to another."""
    log.leases.on_schema(7)
    first = log.lease(5)
    log.grant(8)
    log.leases.on_schema(7)
    second = log.lease(5)
    assert (first, second) == ([range(1, 6)], [range(6, 11)]), "nothing has changed"
    log.leases.on_schema(20)
    log.asked.clear()
    assert log.leases.take("t", 1) is None


def test_a_lease_made_before_statements_is_void_though_it_comes_behind_them(log):
    """The lease is told after a batch in which both were applied."""
    got = log.lease(5)
    log.leases.on_schema(7)
    log.grant(6)
    assert not got
    log.grant(8)
    assert got == [range(17, 22)]


def test_who_has_seen_statements_first_gets_no_older_keys(log):
    """A worker reads the database, and the loop may not have heard of what was applied."""
    log.lease(5)
    log.grant(6)
    assert log.leases.take("t", 2, after=5) == range(6, 8)
    assert log.leases.take("t", 2, after=7) is None
    log.asked.clear()
    log.leases._tables["t"].asking = False
    got = log.lease(5, after=7)
    log.grant(6)
    assert not got
    log.grant(8)
    assert got


def test_what_can_never_be_is_said_so(log):
    """Waiting for the cluster would not help."""
    got = log.lease(5)
    message = "table t has no keys left"
    log.refuse(Applied(1, b"id", Verdict(VerdictKind.OPERATIONAL_ERROR, message=message), 0))
    assert got[0].reason is Reason.NOT_POSSIBLE
    assert message in got[0].message
    assert "keys of your own" in got[0].message


def test_what_was_lost_to_statements_does_not_count_as_used(log):
    """Each reset of a sequence would double all leases."""
    for index in range(1, 20, 2):
        log.lease(1)
        assert log.grant(index) == KEY_LEASE_COUNT_MIN
        log.leases.on_schema(index + 1)


def test_keys_above_those_of_others_are_leased_though_there_are_some(log):
    log.lease(1)
    log.grant()
    log.next_key = 1000
    got = log.lease(4, above=500)
    assert not got
    assert log.grant() == KEY_LEASE_COUNT_MIN, "there is no lack of keys"
    assert got == [range(1000, 1004)]
    assert log.lease(1) == [range(2, 3)], "those below are for whoever does not mind"
    assert log.lease(4, above=1) == [range(3, 7)]


def test_leases_that_are_used_up_grow_though_keys_below_are_left(log):
    """Keys that are left to SQLite lie above all in use: what others have overtaken is no use."""
    log.lease(1)
    log.grant()
    log.next_key = 1000
    sizes = []
    for above in range(999, 1250):
        if not log.lease(1, above=above):
            sizes.append(log.grant())
    assert sizes == [16, 32, 64, 128, 256][: len(sizes)]
    assert len(sizes) >= 4


def test_of_keys_that_others_overtake_not_all_are_kept(log):
    for number in range(3 * LEASES_MAX):
        log.next_key = above = 1000 * number
        got = log.lease(1, above=above - 1)
        assert log.grant() == KEY_LEASE_COUNT_MIN
        assert got == [range(above, above + 1)]
    given = 0
    while log.lease(KEY_LEASE_COUNT_MIN - 1):
        given += 1
    assert given == LEASES_MAX


def test_who_wants_keys_above_all_that_can_be_leased_gets_others_at_once(log):
    log.lease(1)
    got = log.lease(4, above=10**9)
    log.grant()
    assert not got, "that lease was under way already"
    log.grant()
    assert [len(block) for block in got] == [4]
    assert not log.asked


def test_a_lease_that_fails_refuses_who_wants_keys_above(log):
    log.lease(1)
    log.grant()
    got = log.lease(4, above=500)
    log.refuse(Refusal(Reason.UNAVAILABLE, "no leader"))
    assert [end.reason for end in got] == [Reason.UNAVAILABLE]


def test_a_worker_asks_for_no_more_than_a_node_gives():
    """It would be given less, and have leased them in vain."""
    assert LEASED_MAX == KEY_BLOCK_COUNT_MAX
