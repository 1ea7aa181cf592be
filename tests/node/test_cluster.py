"""Three nodes in one process: writes through any of them, and the loss of each."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from raftcore.types import Role
from raftdjango.client.uncertain import Uncertain
from raftdjango.exceptions import ClusterUnavailable, CommitUncertain, TransactionTooLarge
from raftdjango.node.group import TELL_TICKS
from raftdjango.writeset import VerdictKind, decode_command
from tests.node.nodes import (
    GROUP,
    PATIENCE_S,
    Cluster,
    command,
    insert,
    make_table,
    run_sql,
    wait_until,
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as cluster:
        cluster.start()
        cluster.leader()
        cluster.version = make_table(cluster.client("n1"))
        cluster.level()
        yield cluster


def followers(cluster: Cluster) -> list[str]:
    leader = cluster.leader()
    return [name for name in cluster.nodes if name != leader]


def write(cluster: Cluster, client, key: int, *, timeout_s: float = PATIENCE_S):
    proposal = command(insert(cluster.version, key, f"note {key}"), client=client)
    outcome = client.propose(*proposal, timeout_s=timeout_s)
    assert outcome.verdict.kind is VerdictKind.APPLIED, outcome
    return outcome


class Writer(threading.Thread):
    """Writes notes through one node until told to stop; remembers which were acknowledged."""

    def __init__(self, cluster: Cluster, name: str, first: int) -> None:
        super().__init__(daemon=True)
        self.cluster, self.client, self.next = cluster, cluster.client(name), first
        self.acknowledged: list[int] = []
        self.error: Exception | None = None
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            while not self.done.is_set():
                write(self.cluster, self.client, self.next)
                self.acknowledged.append(self.next)
                self.next += 1
        except Exception as error:
            self.error = error

    def finish(self) -> list[int]:
        self.done.set()
        self.join(PATIENCE_S)
        if self.error:
            raise self.error
        return self.acknowledged


def test_a_write_on_any_node_shows_on_every_node(cluster):
    for key, name in enumerate(cluster.names, start=1):
        write(cluster, cluster.client(name), key)
        assert (key, f"note {key}") in cluster.rows(name), "the node it was made on shows it"
    cluster.level()
    assert [len(cluster.rows(name)) for name in cluster.names] == [3, 3, 3]


def test_writers_go_on_without_an_error_when_the_leader_is_lost(cluster):
    lost = cluster.leader()
    writers = [Writer(cluster, name, 1000 * n) for n, name in enumerate(followers(cluster), 1)]
    wait_until(lambda: all(len(w.acknowledged) > 5 for w in writers), "writes")
    cluster.crash(lost)
    before = [len(w.acknowledged) for w in writers]
    wait_until(
        lambda: all(len(w.acknowledged) > n + 5 for w, n in zip(writers, before, strict=True)),
        "writes under a new leader",
    )
    acknowledged = sorted(key for writer in writers for key in writer.finish())
    cluster.start(lost)
    cluster.level()
    for name in cluster.names:
        assert [key for key, _ in cluster.rows(name)] == acknowledged


def test_a_cut_leader_is_replaced_and_loses_nothing_when_it_comes_back(cluster):
    cut = cluster.leader()
    client = cluster.client(cut)
    write(cluster, client, 1)
    cluster.network.isolated.add(cut)
    rest = [name for name in cluster.names if name != cut]
    assert cluster.leader(among=rest) != cut
    write(cluster, cluster.client(rest[0]), 2)
    cluster.network.isolated.clear()
    write(cluster, client, 3)
    cluster.level()
    assert [key for key, _ in cluster.rows(cut)] == [1, 2, 3]


def test_a_write_begun_on_a_cut_leader_ends_once_it_is_back(cluster):
    """Its entry was appended where nobody heard of it: the place goes to another entry."""
    cut = cluster.leader()
    client = cluster.client(cut)
    proposal = command(insert(cluster.version, 1, "patient"), client=client)
    cluster.network.isolated.add(cut)
    ended: list = []
    asking = threading.Thread(
        target=lambda: ended.append(client.propose(*proposal, timeout_s=PATIENCE_S))
    )
    asking.start()
    rest = [name for name in cluster.names if name != cut]
    cluster.leader(among=rest)
    write(cluster, cluster.client(rest[0]), 2)
    cluster.network.isolated.clear()
    asking.join(PATIENCE_S)
    assert ended[0].verdict.kind is VerdictKind.APPLIED
    cluster.level()
    assert [key for key, _ in cluster.rows(cut)] == [1, 2]


def test_without_a_majority_what_never_left_is_unavailable(cluster):
    alone = followers(cluster)[0]
    client = cluster.client(alone)
    client.refresh(timeout_s=PATIENCE_S)
    proposal = command(insert(cluster.version, 1, "never"), client=client)
    for name in cluster.names:
        if name != alone:
            cluster.crash(name)
    wait_until(lambda: cluster.status(alone)["leader"] is None, "the loss of the leader")
    with pytest.raises(ClusterUnavailable, match="majority"):
        client.propose(*proposal, timeout_s=0.5)


def test_without_a_majority_what_was_appended_is_uncertain_and_resolves(cluster):
    leader = cluster.leader()
    client = cluster.client(leader)
    client.refresh(timeout_s=PATIENCE_S)
    proposal = command(insert(cluster.version, 1, "?"), client=client, expires_in_ms=2000)
    for name in followers(cluster):
        cluster.crash(name)
    with pytest.raises(CommitUncertain) as uncertain:
        client.propose(*proposal, timeout_s=0.2)
    assert uncertain.value.resolve(timeout_s=0.2) is None, "still no majority"
    cluster.start(*(name for name in cluster.names if name != leader))
    cluster.leader()
    # Its entry was in the log of a leader that may have stayed or have been replaced.
    resolved = uncertain.value.resolve(timeout_s=PATIENCE_S)
    assert resolved is bool(cluster.rows(leader))
    token = Uncertain.parse(uncertain.value.token)
    for name in cluster.names:
        elsewhere = cluster.client(name)
        assert elsewhere.resolve(token, timeout_s=PATIENCE_S) is resolved, "on any machine"
    of_another = token._replace(cluster_id=bytes(16), proposal_id=bytes(24))
    with pytest.raises(ValueError, match="another cluster"):
        client.resolve(of_another, timeout_s=PATIENCE_S)


def test_resolving_waits_for_what_may_still_be_proposed(cluster):
    client = cluster.client("n1")
    proposal = command(insert(cluster.version, 1, "?"), client=client)
    uncertain = Uncertain(GROUP, proposal[0], decode_command(proposal[1]).expires_at_ms)
    assert client.resolve(uncertain, timeout_s=0.2) is None
    client.propose(*proposal, timeout_s=PATIENCE_S)
    assert client.resolve(uncertain, timeout_s=PATIENCE_S) is True


def test_resolving_is_final_once_the_proposal_has_expired(cluster):
    client = cluster.client("n1")
    proposal_id, data = command(insert(cluster.version, 1, "?"), client=client)
    group = cluster.nodes[cluster.leader()].groups[GROUP]
    expires_at_ms = decode_command(data).expires_at_ms
    # Cluster time jumps past the expiry, as it does when a node with a faster clock leads.
    cluster.thread.call(
        lambda: group.core._node.clock.observe(expires_at_ms + 1, group.core._node.now_ms)
    )
    uncertain = Uncertain(GROUP, proposal_id, expires_at_ms)
    assert client.resolve(uncertain, timeout_s=PATIENCE_S) is False
    with pytest.raises(ClusterUnavailable, match="after its deadline"):
        client.propose(proposal_id, data, timeout_s=PATIENCE_S)


def test_a_proposal_repeated_under_its_id_is_written_once(cluster):
    proposal = command(insert(cluster.version, 1, "once"), client=cluster.client("n1"))
    outcomes = [
        cluster.client(name).propose(*proposal, timeout_s=PATIENCE_S)
        for name in ("n1", "n2", "n3", "n1")
    ]
    assert {outcome.verdict.kind for outcome in outcomes} == {VerdictKind.APPLIED}
    cluster.level()
    assert [cluster.rows(name) for name in cluster.names] == [[(1, "once")]] * 3


def test_a_refresh_shows_what_was_committed_elsewhere(cluster):
    reader = cluster.client(followers(cluster)[0])
    for key in range(1, 20):
        written = write(cluster, cluster.client(cluster.leader()), key)
        assert reader.refresh(timeout_s=PATIENCE_S) >= written.log_index
        assert len(cluster.rows(followers(cluster)[0])) == key


def test_leased_keys_are_never_given_twice(cluster):
    given: list[int] = []
    for name in cluster.names * 3:
        given += cluster.client(name).lease_keys("note", 10, timeout_s=PATIENCE_S)
    client = cluster.client("n1")
    proposal = command(insert(cluster.version, 5000, "x"), client=client)
    outcome = client.propose(*proposal, timeout_s=PATIENCE_S, want_keys={"note": 5})
    given += outcome.keys.get("note", ())
    cluster.crash(followers(cluster)[0])
    given += cluster.client(cluster.leader()).lease_keys("note", 10, timeout_s=PATIENCE_S)
    assert len(given) == len(set(given)) >= 100


def test_after_a_reset_of_the_sequence_keys_begin_anew_and_no_node_gives_older_ones(cluster):
    clients = [cluster.client(name) for name in cluster.names]
    for client in clients:
        (key, *_) = client.lease_keys("note", 1, timeout_s=PATIENCE_S)
        write(cluster, client, key)
    reset = "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'note'"
    run_sql(clients[0], "DELETE FROM note", reset)
    cluster.level()
    given = [key for c in clients for key in c.lease_keys("note", 1, timeout_s=PATIENCE_S)]
    given += [key for c in clients for key in c.lease_keys("note", 40, timeout_s=PATIENCE_S)]
    assert min(given) == 1
    assert len(given) == len(set(given)) > 40


def test_a_clean_stop_hands_leadership_over_and_nobody_waits_for_an_election(cluster):
    leader = cluster.leader()
    writers = [Writer(cluster, name, 1000 * n) for n, name in enumerate(followers(cluster), 1)]
    term = cluster.status(leader)["term"]
    wait_until(lambda: all(len(w.acknowledged) > 5 for w in writers), "writes")
    group = cluster.nodes[leader].groups[GROUP]
    cluster.stop(leader)
    assert group.role is not Role.LEADER, "it led until it was gone"
    assert cluster.leader() != leader
    assert cluster.status(followers(cluster)[0])["term"] == term + 1, "one election, and it was won"
    acknowledged = sorted(key for writer in writers for key in writer.finish())
    cluster.level()
    assert [key for key, _ in cluster.rows(cluster.leader())] == acknowledged


def test_a_command_beyond_the_bound_is_too_large_at_every_gate():
    with Cluster(3, transaction_bytes_max=1000) as cluster:
        cluster.start()
        cluster.leader()
        for name in cluster.names:
            client = cluster.client(name)
            proposal = command(insert(0, 1, "x" * 2000), client=client)
            with pytest.raises(TransactionTooLarge, match=r"2[0-9]{3} bytes"):
                client.propose(*proposal, timeout_s=PATIENCE_S)
            client.transaction_bytes_max = 10_000  # as a worker with other settings has it
            with pytest.raises(TransactionTooLarge):
                client.propose(*proposal, timeout_s=PATIENCE_S)


def test_status_tells_what_is_known_and_null_where_nothing_is(cluster):
    leader = cluster.leader()
    follower = followers(cluster)[0]
    seen = cluster.client(leader).status(timeout_s=PATIENCE_S)
    assert seen["node"] == seen["leader"] == leader
    assert seen["role"] == "leader"
    assert len(seen["cluster_id"]) == 32
    assert seen["ready"]
    assert seen["log_compacted"] is False
    assert [member["id"] for member in seen["members"]] == cluster.names
    assert all(isinstance(member["match_index"], int) for member in seen["members"])
    assert seen["members_told_ms"] == 0
    cluster.crash(leader)
    for name in cluster.names:
        if name not in (leader, follower):
            cluster.crash(name)
    wait_until(lambda: cluster.status(follower)["leader"] is None, "the loss of the leader")
    alone = cluster.client(follower).status(timeout_s=PATIENCE_S)
    assert alone["members_told_ms"] is None, "what an earlier leader said is worth nothing now"
    for member in alone["members"]:
        if member["id"] != follower:
            assert member["match_index"] is member["lag"] is member["last_contact_ms"] is None


def member(status: dict, name: str) -> dict:
    return next(row for row in status["members"] if row["id"] == name)


def test_a_follower_shows_what_the_leader_knows_of_all(cluster):
    leader = cluster.leader()
    follower, cut = followers(cluster)
    cluster.network.cut.add(frozenset((leader, cut)))
    write(cluster, cluster.client(leader), 1)

    def told() -> dict | None:
        status = cluster.status(follower)
        row = member(status, cut)
        return status if row["lag"] and row["last_contact_ms"] > 700 else None

    status = wait_until(told, "the leader's word on the node that it does not reach")
    assert 0 <= status["members_told_ms"] < 30_000
    assert member(status, cut)["last_contact_ms"] > status["members_told_ms"]
    assert member(status, cut)["match_index"] < member(status, leader)["match_index"]
    assert member(status, cut)["role"] == "follower"
    assert (member(status, leader)["lag"], member(status, follower)["lag"]) == (0, 0)
    assert member(status, follower)["last_contact_ms"] == 0
    assert member(status, leader)["last_contact_ms"] < 700, "heard first-hand all the time"


def test_facts_are_told_by_the_leader_alone_and_seldom(cluster):
    leader = cluster.leader()
    sent = cluster.network.sent
    before, ticks = sent["MemberFacts"], cluster.nodes[leader].groups[GROUP]._ticks
    wait_until(lambda: sent["MemberFacts"] >= before + 4, "facts")
    told = sent["MemberFacts"] - before
    passed = cluster.nodes[leader].groups[GROUP]._ticks - ticks
    assert told <= 2 * (passed // TELL_TICKS + 1), "once in so many sweeps, to two others"


def test_every_incarnation_is_bound_in_the_log(cluster):
    def bound() -> bool:
        rows = cluster.rows("n1", "SELECT incarnation FROM raftdjango_member")
        return len(rows) == 3 and all(row[0] for row in rows)

    wait_until(bound, "three bindings")
    for node in cluster.nodes.values():
        wait_until(lambda node=node: node.groups[GROUP].formation.is_complete, "completion")


def test_everything_survives_a_crash_of_all(cluster):
    writers = [Writer(cluster, name, 1000 * n) for n, name in enumerate(cluster.names, 1)]
    wait_until(lambda: all(len(w.acknowledged) > 10 for w in writers), "writes")
    acknowledged = sorted(key for writer in writers for key in writer.finish())
    for name in cluster.names:
        cluster.crash(name)
    cluster.start()
    cluster.leader()
    cluster.level()
    for name in cluster.names:
        assert [key for key, _ in cluster.rows(name)] == acknowledged
