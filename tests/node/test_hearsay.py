"""What a follower believes of its leader's word on the members, and for how long."""

from __future__ import annotations

from dataclasses import replace

from raftcore import Role, Status
from raftcore.status import MemberStatus
from raftdjango.node.consensus.hearsay import Hearsay, facts_of, tell_members
from raftdjango.node.peers.peer_pb2 import MemberFacts
from raftdjango.node.status import member_facts

LEADER = Status(
    node_id="n1",
    role=Role.LEADER,
    term=4,
    leader="n1",
    commit_index=90,
    applied_index=90,
    last_index=100,
    members=(
        MemberStatus("n1", voter=True, match_index=95, last_contact_ms=0),
        MemberStatus("n2", voter=True, match_index=90, last_contact_ms=20),
        MemberStatus("n3", voter=False, match_index=0, last_contact_ms=None),
    ),
    transferring=False,
)
FOLLOWER = replace(
    LEADER,
    node_id="n2",
    role=Role.FOLLOWER,
    last_index=93,
    members=(
        MemberStatus("n1", voter=True, match_index=0, last_contact_ms=7),
        MemberStatus("n2", voter=True, match_index=93, last_contact_ms=0),
        MemberStatus("n3", voter=False, match_index=0, last_contact_ms=None),
    ),
)


def test_leader_tells_the_others() -> None:
    told: list[tuple[str, MemberFacts]] = []
    tell_members(LEADER, lambda to, facts: told.append((to, facts)))
    assert told == [("n2", facts_of(LEADER)), ("n3", facts_of(LEADER))]


def test_leader_believes_itself_at_once() -> None:
    assert Hearsay().under(LEADER, 0) == (facts_of(LEADER), 0)


def test_word_of_the_present_leader_ages() -> None:
    hearsay = Hearsay()
    hearsay.hear("n1", facts_of(LEADER), 1000)
    assert hearsay.under(FOLLOWER, 1300) == (facts_of(LEADER), 300)


def test_word_of_another_leader_or_term_counts_no_more() -> None:
    hearsay = Hearsay()
    hearsay.hear("n1", facts_of(LEADER), 1000)
    for changes in ({"leader": None}, {"leader": "n3"}, {"term": 5}, {"leader": None, "term": 5}):
        assert hearsay.under(replace(FOLLOWER, **changes), 1000) is None


def test_late_word_of_a_deposed_leader_replaces_nothing() -> None:
    hearsay = Hearsay()
    hearsay.hear("n1", facts_of(LEADER), 1000)
    hearsay.hear("n3", MemberFacts(term=3), 1100)
    assert hearsay.under(FOLLOWER, 1200) == (facts_of(LEADER), 200)


def test_rows_of_a_follower() -> None:
    rows = {row["id"]: row for row in member_facts(FOLLOWER, {}, facts_of(LEADER), 300)}
    found = {name: (row["match_index"], row["lag"], row["role"]) for name, row in rows.items()}
    assert found == {
        "n1": (100, 0, "leader"),
        "n2": (90, 10, "follower"),
        "n3": (None, None, None),
    }, "n3 was never heard by this leader, which then knows nothing of it"
    contacts = {name: row["last_contact_ms"] for name, row in rows.items()}
    assert contacts == {"n1": 7, "n2": 0, "n3": None}
    told = facts_of(LEADER)
    told.members[2].last_contact_ms = 50
    rows = {row["id"]: row for row in member_facts(FOLLOWER, {}, told, 300)}
    n3 = rows["n3"]
    assert (n3["last_contact_ms"], n3["lag"], n3["role"]) == (350, 100, "learner")


def test_a_new_leader_knows_nothing_of_a_member_that_it_has_not_heard() -> None:
    rows = {row["id"]: row for row in member_facts(LEADER, {}, facts_of(LEADER), 0)}
    n3 = rows["n3"]
    assert (n3["role"], n3["match_index"], n3["lag"], n3["last_contact_ms"]) == (None,) * 4
    assert (rows["n2"]["role"], rows["n2"]["lag"]) == ("follower", 10)


def test_rows_of_a_follower_that_was_told_nothing() -> None:
    rows = {row["id"]: row for row in member_facts(FOLLOWER, {}, None, 0)}
    assert (rows["n1"]["role"], rows["n1"]["match_index"], rows["n1"]["lag"]) == (
        "leader",
        None,
        None,
    )
    assert (rows["n2"]["match_index"], rows["n2"]["lag"]) == (93, None)
    assert (rows["n3"]["role"], rows["n3"]["last_contact_ms"]) == (None, None)
