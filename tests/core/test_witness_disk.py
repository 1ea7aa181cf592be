"""A witness is never ahead of the disks of those who keep data: nobody could win its vote then."""

from __future__ import annotations

from raftcore import Demote
from raftcore.messages import AppendEntries
from tests.core.cluster import acknowledge
from tests.core.test_witness import leader, sent_to, witnessed


def test_a_witness_is_told_only_of_what_is_on_the_leaders_own_disk():
    # To another voter a leader sends in parallel with its own write (thesis §10.2.1).  A witness that
    # held what a crash of the leader takes would vote for nobody any more, as nobody has that data.
    node = leader("aw")
    node.slow_disk = True
    node.propose(b"x")
    assert sent_to(node, "w") == []
    node.write_and_pump()
    assert sent_to(node, "w") == [2]


def test_neither_when_its_voice_is_needed():
    node = leader("abw")
    node.slow_disk = True
    node.propose(b"x")
    node.core._node.leading.witnesses_needed = True
    node.core._node.leading.agreed_next = node.core.last_index
    node.pump()
    assert sent_to(node, "w") == []
    node.write_and_pump()
    assert sent_to(node, "w") == [2]


def test_a_leader_that_is_no_voter_any_more_tells_it_of_what_a_voter_holds():
    # Once its leaving is committed it cannot lead, and what only it and the witness hold would keep
    # the one that stays from being elected.
    node = leader("abw")
    node.core.change_membership([Demote("a")], node.now_ms)
    node.pump()
    node.propose(b"x")
    index = node.core.last_index
    assert [m.entries[-1].index for m in node.take(AppendEntries, "b") if m.entries][-1] == index
    assert sent_to(node, "w") == []
    acknowledge(node, "b", index - 1)
    assert sent_to(node, "w") == [index - 1]
    witnessed(node, "w", index - 1)
    assert sent_to(node, "w") == []
