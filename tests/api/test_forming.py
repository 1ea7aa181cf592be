"""Which peers are let in, and what they may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdjango.node.forming.decisions import Forming, PeerRefused, forming_digest, sorted_nodes

if TYPE_CHECKING:
    from pathlib import Path

URLS = {f"n{n}": f"http://10.0.0.{n}:7001" for n in (1, 2, 3)}
X, Y = b"X" * 16, b"Y" * 16

BOOTSTRAP_VOTES = [PreVote(1, "n2", 0, 0), RequestVote(1, "n2", 0, 0)]
LEADERSHIP = [AppendEntries(1, "n2", 0, 0, (), 0, 1), Heartbeat(1, "n2", 0, 1), TimeoutNow(1, "n2")]
ANSWERS = [
    RequestVoteResponse(1, "n2", True),
    AppendEntriesResponse(1, "n2", 1, True, 5),
    HeartbeatResponse(1, "n2", 1),
]


def node(node_id: str, *, disk: str = "a", nodes=URLS, memory: Path | None = None) -> Forming:
    incarnation = f"{node_id}{disk}".encode().ljust(16, b".")
    return Forming("default", node_id, nodes, incarnation, memory=memory)


def formed(node_id: str, cluster: bytes = X, **options) -> Forming:
    made = node(node_id, **options)
    made.has_formed(cluster, URLS)
    return made


def refusal(host: Forming, guest: Forming) -> PeerRefused:
    with pytest.raises(PeerRefused) as caught:
        host.admit(guest.standing, lambda: guest.nodes)
    return caught.value


def lets_in(host: Forming, guest: Forming, messages) -> set[bool]:
    return {host.lets_in(guest.standing, message) for message in messages}


def test_the_digest_is_of_the_sorted_list_and_the_group() -> None:
    backwards = dict(reversed(URLS.items()))
    assert forming_digest("a", sorted_nodes(URLS)) == forming_digest("a", sorted_nodes(backwards))
    assert forming_digest("a", sorted_nodes(URLS)) != forming_digest("b", sorted_nodes(URLS))
    slashed = {name: url + "/" for name, url in URLS.items()}
    assert sorted_nodes(slashed) == sorted_nodes(URLS)


def test_new_nodes_with_equal_lists_talk_freely() -> None:
    n1, n2 = node("n1"), node("n2")
    n1.admit(n2.standing)
    assert lets_in(n1, n2, [*BOOTSTRAP_VOTES, *LEADERSHIP, *ANSWERS]) == {True}


def test_differing_lists_are_refused_naming_both() -> None:
    n1, n2 = node("n1"), node("n2", nodes={**URLS, "n4": "http://10.0.0.4:7001"})
    for host, guest in ((n1, n2), (n2, n1)):
        error = refusal(host, guest)
        assert error.code == "different_nodes"
        assert "{n1: http://10.0.0.1:7001, n2: http://10.0.0.2:7001, n3: http://10.0.0.3:7001}" in (
            error.detail
        )
        assert "n4: http://10.0.0.4:7001" in error.detail


def test_a_formed_node_and_a_new_one_with_another_list_refuse_each_other() -> None:
    n1, n2 = formed("n1"), node("n2", nodes={**URLS, "n4": "http://10.0.0.4:7001"})
    assert refusal(n1, n2).code == "different_nodes"
    assert refusal(n2, n1).code == "different_nodes"


def test_nodes_is_ignored_once_there_is_an_id(caplog: pytest.LogCaptureFixture) -> None:
    n1 = formed("n1")
    with caplog.at_level("WARNING"):
        n2 = node("n2", nodes={"n2": URLS["n2"], "n9": "http://10.0.0.9:7001"})
        n2.has_formed(X, URLS)
    assert "http://10.0.0.9:7001" in caplog.text
    assert "ignored" in caplog.text
    n2.admit(n1.standing)
    n1.admit(n2.standing)


def test_two_clusters_never_mix() -> None:
    error = refusal(formed("n1", X), formed("n2", Y))
    assert error.code == "wrong_cluster"
    assert X.hex() in error.detail
    assert Y.hex() in error.detail


def test_a_stranger() -> None:
    assert refusal(formed("n1"), formed("n4", nodes={**URLS, "n4": "u"})).code == "not_a_member"


class TestLateThirdNode:
    """Two have formed; the third starts for the first time."""

    def test_it_is_let_in_and_may_answer(self) -> None:
        leader, late = formed("n1"), node("n3")
        leader.admit(late.standing, lambda: late.nodes)
        assert lets_in(leader, late, ANSWERS) == {True}

    def test_it_takes_the_leaders_entries_and_votes(self) -> None:
        leader, late = formed("n1"), node("n3")
        late.admit(leader.standing)
        assert lets_in(late, leader, [*BOOTSTRAP_VOTES, *LEADERSHIP]) == {True}

    def test_nobody_who_has_an_id_answers_its_bootstrap_vote(self) -> None:
        leader, late = formed("n1"), node("n3")
        assert lets_in(leader, late, [*BOOTSTRAP_VOTES, *LEADERSHIP]) == {False}

    def test_once_told_it_stops_forming_a_cluster(self) -> None:
        leader, late, other = formed("n1"), node("n3"), node("n2")
        assert all(late.lets_out(message) for message in BOOTSTRAP_VOTES)
        late.admit(leader.standing)
        assert not any(late.lets_out(message) for message in [*BOOTSTRAP_VOTES, *LEADERSHIP])
        assert all(late.lets_out(message) for message in ANSWERS)
        assert lets_in(late, other, [*BOOTSTRAP_VOTES, *LEADERSHIP]) == {False}

    def test_with_the_id_in_its_log_it_may_lead(self) -> None:
        leader, late = formed("n1"), node("n3")
        late.admit(leader.standing)
        late.has_logged(X)
        assert lets_in(leader, late, [*BOOTSTRAP_VOTES, *LEADERSHIP]) == {True}
        assert all(late.lets_out(message) for message in BOOTSTRAP_VOTES)

    def test_another_id_in_its_log_does_not_count(self) -> None:
        leader, late = formed("n1"), node("n3")
        late.has_logged(Y)
        late.admit(leader.standing)
        leader.admit(late.standing)
        assert lets_in(leader, late, BOOTSTRAP_VOTES) == {False}
        assert not any(late.lets_out(message) for message in BOOTSTRAP_VOTES)
        late.has_logged(b"")
        late.has_logged(X)
        assert lets_in(leader, late, BOOTSTRAP_VOTES) == {True}

    def test_it_is_told_once_and_for_good(self, tmp_path: Path) -> None:
        memory = tmp_path / "peers.json"
        late = node("n3", memory=memory)
        late.admit(formed("n1").standing)
        again = node("n3", memory=memory)
        assert not any(again.lets_out(message) for message in BOOTSTRAP_VOTES)
        assert refusal(again, formed("n2", Y)).code == "wrong_cluster"


class TestWipedNode:
    """A data directory is lost; its node comes back with another incarnation."""

    def test_it_is_refused_by_whom_it_was_known_to(self) -> None:
        n1 = node("n1")
        n1.admit(node("n3").standing)
        error = refusal(n1, node("n3", disk="b"))
        assert error.code == "other_incarnation"
        assert "Bring the former DATA_DIR" in error.detail

    def test_it_is_refused_over_restarts(self, tmp_path: Path) -> None:
        memory = tmp_path / "peers.json"
        node("n1", memory=memory).admit(node("n3").standing)
        assert refusal(node("n1", memory=memory), node("n3", disk="b")).code == "other_incarnation"

    def test_the_log_binds_it_for_nodes_that_never_met_it(self) -> None:
        n2 = formed("n2")
        n2.has_bound("n3", node("n3").standing.incarnation)
        assert refusal(n2, node("n3", disk="b")).code == "other_incarnation"
        n2.admit(node("n3").standing)

    def test_the_log_is_right_where_memory_differs(self) -> None:
        n2 = formed("n2")
        n2.admit(node("n3", disk="b").standing)
        n2.has_bound("n3", node("n3", disk="a").standing.incarnation)
        n2.admit(node("n3", disk="a").standing)
        assert refusal(n2, node("n3", disk="b")).code == "other_incarnation"

    def test_the_first_binding_wins(self) -> None:
        n2 = formed("n2")
        n2.has_bound("n3", b"first")
        n2.has_bound("n3", b"second")
        assert n2.bound["n3"] == b"first"

    def test_it_learns_that_it_is_not_wanted(self) -> None:
        wiped = formed("n3", disk="b")
        assert wiped.evicted == ""
        wiped.has_bound("n3", node("n3").standing.incarnation)
        assert "under a new node id" in wiped.evicted

    def test_two_wiped_nodes_form_nothing_once_a_survivor_is_heard(self) -> None:
        survivor, n2, n3 = formed("n1"), node("n2", disk="b"), node("n3", disk="b")
        assert lets_in(n2, n3, BOOTSTRAP_VOTES) == {True}, "before: nobody can know"
        n2.admit(survivor.standing)
        assert lets_in(n2, n3, BOOTSTRAP_VOTES) == {False}
        assert lets_in(survivor, n3, [*BOOTSTRAP_VOTES, *LEADERSHIP]) == {False}


def test_what_a_leader_proposes() -> None:
    n1 = node("n1")
    command = n1.form_command()
    assert command is not None
    assert (command.group, command.nodes) == ("default", sorted_nodes(URLS))
    assert len(command.cluster_id) == 16
    n1.has_logged(command.cluster_id)
    assert n1.form_command() is None
    n1.has_formed(command.cluster_id, command.nodes)
    assert n1.form_command() is None
    n1.admit(node("n2").standing)
    assert dict(n1.unbound()) == {
        "n1": n1.standing.incarnation,
        "n2": node("n2").standing.incarnation,
    }
    n1.has_bound("n1", n1.standing.incarnation)
    assert [name for name, _ in n1.unbound()] == ["n2"]
