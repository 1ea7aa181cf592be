"""Who takes part, by what a snapshot says (paper §7; thesis §4.1)."""

from __future__ import annotations

from raftcore import Entry, EntryKind, Membership, Role
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestVoteResponse,
    TimeoutNow,
)
from tests.core.changing import of
from tests.core.cluster import entry, member, membership_entry
from tests.core.snapshots import ON, follower, snapshot

STATE = [entry(i, 1, b"%d" % i) for i in range(1, 6)]


def test_its_membership_is_in_force_at_once():
    node = follower(1)
    node.slow_disk = True
    node.snapshot_arrives(snapshot(5, 2, voters="abde", membership_index=4), STATE)
    assert (node.core.membership, node.core.membership_index) == (of("abde"), 4)


def test_it_comes_back_when_a_later_one_is_cut_off():
    node = follower(1)
    node.snapshot_arrives(snapshot(5, 2, voters="abd", membership_index=4), STATE)
    node.receive(AppendEntries(2, "b", 5, 2, (membership_entry(6, 2, "abde"),), 5, 8))
    assert node.core.membership_index == 6
    node.receive(AppendEntries(3, "d", 5, 2, (entry(6, 3),), 5, 1))
    assert (node.core.membership, node.core.membership_index) == (of("abd"), 4)


def test_a_membership_of_the_old_log_is_forgotten():
    node = member("a", entries=[membership_entry(1, 1, "abc"), membership_entry(2, 1, "ab")], **ON)
    node.snapshot_arrives(snapshot(5, 2, voters="abc", membership_index=1), STATE)
    assert (node.core.membership, node.core.membership_index) == (of("abc"), 1)


def test_who_is_not_in_it_is_a_voter_of_nothing():
    """It may have been added since: entries behind the snapshot will say so."""
    node = member("e", "", **ON)
    node.snapshot_arrives(snapshot(5, 2, voters="abc"), STATE)
    assert node.core.membership == of("abc")
    assert node.core.next_timer() is None
    node.receive(AppendEntries(2, "b", 5, 2, (membership_entry(6, 2, "abce"),), 6, 8))
    assert node.core.next_timer() is not None


def test_who_was_removed_learns_it():
    node = follower(1)
    gone = Membership(frozenset("bc"), removed=frozenset("a"))
    node.snapshot_arrives(snapshot(5, 2, membership=gone), STATE)
    assert node.core.removed
    assert node.core.next_timer() is None


def test_who_has_got_one_leads_and_sends_it_on():
    """Its log begins with it, and so do those of its followers."""
    state = [Entry(i, 1, EntryKind.COMMAND, 0, b"") for i in range(1, 7)]
    node = follower(1)
    message = snapshot(6, 2, of_term=1, membership=of("abc"))
    node.snapshot_arrives(message, state)
    node.receive(TimeoutNow(2, "b"))
    for name in "bc":
        node.receive(RequestVoteResponse(3, name, granted=True))
    assert node.role is Role.LEADER
    progress = node.core._node.leading.progress["c"]
    node.receive(AppendEntriesResponse(3, "c", progress.session, False, 0, 6, 2, 1))
    (effect,) = node.to_send
    assert (effect.to, effect.message.meta) == ("c", message.meta)
