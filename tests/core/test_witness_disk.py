"""A witness is never ahead of the disks of those who keep data: nobody could win its vote then."""

from __future__ import annotations

from tests.core.test_witness import leader, sent_to


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
