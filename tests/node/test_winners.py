"""A loser is told, by its own node, which entry it lost to."""

from __future__ import annotations

from raftdjango.writeset import Update, VerdictKind, WriteSet, row_digest
from tests.node.nodes import NOTES, PATIENCE_S, Cluster, command, insert, make_table


def test_the_entry_that_won_is_named_on_every_node() -> None:
    with Cluster() as cluster:
        cluster.start()
        cluster.leader()
        first = cluster.client("n1")
        version = make_table(first)
        first.propose(*command(insert(version, 1, "a"), client=first), timeout_s=PATIENCE_S)
        cluster.level()

        def change(text: str) -> WriteSet:
            return WriteSet(version, (Update(NOTES, (1,), row_digest((1, "a")), ((1, text),)),))

        won = first.propose(*command(change("b"), client=first), timeout_s=PATIENCE_S)
        assert won.verdict.kind is VerdictKind.APPLIED
        other = insert(version, 2, "something else later")
        first.propose(*command(other, client=first), timeout_s=PATIENCE_S)
        for name in cluster.names:
            client = cluster.client(name)
            lost = client.propose(*command(change("c"), client=client), timeout_s=PATIENCE_S)
            assert lost.verdict.kind is VerdictKind.CONFLICT
            assert lost.winner_index == won.log_index, name
