"""Who has appended its own removal may still be the only one who can lead (thesis §4.2.2)."""

from __future__ import annotations

import pytest

from raftcore import Demote, Remove, Role
from tests.core.changing import ChangingCluster


@pytest.mark.parametrize("change", [Remove, Demote])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_server_that_is_not_part_of_its_own_latest_configuration_still_starts_elections(
    change, restarted
):
    # "It might still be needed until the C_new entry is committed": the other one's log is shorter,
    # and by that log's configuration it needs the vote of the one that is leaving.
    cluster = ChangingCluster("ab")
    leaving = cluster.elect()
    other = next(node for node in cluster.members.values() if node is not leaving)
    cluster.settle()
    cluster.cut = {other.name}
    leaving.core.change_membership([change(leaving.name)], cluster.now_ms)
    cluster.run(lambda: leaving.role is not Role.LEADER)
    if restarted:
        cluster.restart(leaving)
        leaving = cluster[leaving.name]
    cluster.cut = set()
    cluster.run(lambda: other.role is Role.LEADER)
    cluster.run(lambda: other.core.commit_index >= other.core.membership_index > 1)
    assert other.core.membership.voters == {other.name}


def test_once_that_is_committed_it_does_not():
    cluster = ChangingCluster("abc")
    leaving = cluster.elect()
    cluster.settle()
    cluster.change(Remove(leaving.name))
    cluster.run_for(10_000)
    assert leaving.core.next_timer() is None
    assert leaving.role is Role.FOLLOWER
    assert not leaving.core.current_term < 1


def test_its_own_vote_does_not_count():
    cluster = ChangingCluster("abc")
    leaving = cluster.elect()
    cluster.settle()
    others = [name for name in cluster.members if name != leaving.name]
    cluster.cut = set(others)
    leaving.core.change_membership([Remove(leaving.name)], cluster.now_ms)
    cluster.run(lambda: leaving.role is not Role.LEADER)
    # One of the two that stay is not enough, although it and the leaving one are two of three.
    cluster.cut = {others[0]}
    cluster.run_for(10_000)
    assert leaving.role is not Role.LEADER
    cluster.cut = set()
    cluster.run(lambda: any(cluster[name].role is Role.LEADER for name in others))
