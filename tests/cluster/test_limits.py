"""Entries as large as they may be, and disks with no room left."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from raftcore.storage.wal import SEGMENT_BYTES
from tests.cluster.harness import PATIENCE_S, Cluster, wait_until

MIB = 1024 * 1024


def test_the_largest_entry_holds_nobody_up(bare_cluster: Cluster, tmp_path: Path) -> None:
    """60 MiB are on their way while others write, and nobody takes the leader for dead meanwhile."""
    cluster = bare_cluster
    # Behind it in the log others wait for it, and so does its own node's applier: how long that takes
    # where a dozen busy processes share a processor is not the matter here.
    cluster.settings.update(COMMIT_TIMEOUT_S=60, LOCK_YIELD_MS=30_000)
    cluster.start()
    leader = cluster.leader()
    follower, other = cluster.followers()
    large = cluster.worker(follower)
    large.call("migrate")
    stop = tmp_path / "stop"
    small = [cluster.worker(name).begin("write_until", str(stop), name) for name in (leader, other)]
    before = cluster.status(leader)
    large.call("large_block", "large", 60, MIB, timeout_s=2 * PATIENCE_S)
    stop.touch()
    written = [worker.result() for worker in small]
    after = cluster.status(leader)
    assert before
    assert after
    assert (after["term"], after["leader"]) == (before["term"], leader)
    assert [each["failed"] for each in written] == [[], []]
    assert all(each["acknowledged"] for each in written)
    cluster.assert_equal()
    assert 60 * MIB < after["log_bytes"] - before["log_bytes"] < 64 * MIB
    assert after["log_disk_bytes"] > after["log_bytes"]
    cluster.assert_quiet_logs()


def test_a_node_without_room_loses_nothing(bare_cluster: Cluster) -> None:
    """At its start, in its database, in its log: each time it says so, and room is all it needs.

    The system refuses it larger files, as a full disk would refuse more of them.
    """
    cluster = bare_cluster
    cluster.start("n1", "n2")
    cluster.start("n3", file_bytes_max=MIB)
    assert cluster.nodes["n3"].wait(60) == 1
    assert "n3/raft/default/log cannot go on: opening it failed" in cluster.log_of("n3")

    cluster.start("n3", file_bytes_max=SEGMENT_BYTES)
    cluster.leader()
    writer = cluster.worker("n1")
    writer.call("migrate")
    numbers = count()

    def stopped_applying() -> str:
        writer.call("large_block", f"large-{next(numbers)}", 4, MIB)
        status = cluster.status("n3")
        reason = str(status["not_ready_reason"]) if status else ""
        # On a busy machine there may be others before.
        return reason if reason.startswith("stopped applying") else ""

    reason = wait_until(stopped_applying, "the node to go out of service")
    assert "stopped applying: The database failed" in reason

    writer.call("large_block", "too large for a segment", 17, MIB)
    assert cluster.nodes["n3"].wait(60) == 1
    assert "n3/raft/default/log cannot go on: writing failed" in cluster.log_of("n3")
    writer.call("create_item", "after")

    cluster.start("n3")
    cluster.leader()
    cluster.assert_equal()
    assert cluster.worker("n3").call("items") == {"after": 0}
    cluster.assert_quiet_logs()
