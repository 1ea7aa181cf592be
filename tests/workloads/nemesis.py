"""Faults, one after the other, each of which has to be seen to happen.

A fault ends with all nodes up and a leader that all of them name; each tells what is proof of it.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.cluster.harness import wait_until
from tests.workloads.cluster import WorkloadCluster

Fault = Callable[[WorkloadCluster, random.Random], str]

MORE_ENTRIES = 30
"""How many entries make progress."""


def term(cluster: WorkloadCluster, name: str) -> int:
    return int(wait_until(lambda: cluster.status(name), f"{name} to answer")["term"])


def committed(cluster: WorkloadCluster, name: str) -> int:
    return int(wait_until(lambda: cluster.status(name), f"{name} to answer")["commit_index"])


def schema_version(database: Path) -> int:
    """The log index of the last schema change that a node has applied."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT schema_version FROM raftdjango_state").fetchone()[0])


def progress(cluster: WorkloadCluster, *names: str) -> None:
    """Wait until nodes have applied more entries, which only clients make so many of."""
    for name in names:
        before = wait_until(lambda n=name: cluster.status(n), f"{name} to answer")["applied_index"]
        wait_until(
            lambda n=name, b=before: (
                (status := cluster.status(n)) and status["applied_index"] >= b + MORE_ENTRIES
            ),
            f"progress on {name}",
        )


def kill_leader(cluster: WorkloadCluster, rng: random.Random) -> str:
    """`kill -9` of the leader; the others elect one and go on before it is started again."""
    leader = cluster.leader()
    before = term(cluster, leader)
    others = [name for name in cluster.names if name != leader]
    cluster.kill(leader)
    successor = cluster.leader(*others)
    after = term(cluster, successor)
    assert after > before, f"no election followed: term {before}, then {after}"
    progress(cluster, *others)
    cluster.start(leader)
    return f"{leader} was killed in term {before}, {successor} led in term {after}"


def pause_leader(cluster: WorkloadCluster, rng: random.Random) -> str:
    """The leader stands still until another has been elected, then wakes and believes it leads."""
    leader = cluster.leader()
    before = term(cluster, leader)
    others = [name for name in cluster.names if name != leader]
    cluster.signal(signal.SIGSTOP, leader)
    try:
        successor = cluster.leader(*others)
        progress(cluster, *others)
    finally:
        cluster.signal(signal.SIGCONT, leader)
    after = term(cluster, successor)
    assert after > before, f"no election followed: term {before}, then {after}"
    return f"{leader} stood still in term {before}, {successor} led in term {after}"


def kill_follower(cluster: WorkloadCluster, rng: random.Random) -> str:
    """`kill -9` of a follower, and a start at once: its clients propose again what is in doubt."""
    leader = cluster.leader()
    name = rng.choice([name for name in cluster.names if name != leader])
    cluster.kill(name)
    cluster.start(name)
    progress(cluster, leader)
    return f"{name} was killed, {leader} led on"


def stop_leader(cluster: WorkloadCluster, rng: random.Random) -> str:
    """A clean stop, which hands leadership over."""
    leader = cluster.leader()
    said = cluster.log_of(leader).count("handed")
    code = cluster.stop(leader)
    assert code == 0, f"{leader} ended with {code}"
    assert cluster.log_of(leader).count("handed") > said, f"{leader} did not hand over"
    cluster.start(leader)
    return f"{leader} stopped and handed leadership over"


def no_majority(cluster: WorkloadCluster, rng: random.Random) -> str:
    """Both followers stand still for longer than a write waits: nobody can know what came of it."""
    leader = cluster.leader()
    others = [name for name in cluster.names if name != leader]
    cluster.signal(signal.SIGSTOP, *others)
    try:
        # Pauses of a length, not for a condition: together they outlast the deadline of every write.
        time.sleep(cluster.settings["COMMIT_TIMEOUT_S"] * 0.5)
        before = committed(cluster, leader)
        time.sleep(cluster.settings["COMMIT_TIMEOUT_S"] * 0.7)
        after = committed(cluster, leader)
    finally:
        cluster.signal(signal.SIGCONT, *others)
    assert after == before, f"{leader} committed {after - before} entries alone"
    return f"{', '.join(others)} stood still, {leader} committed nothing after {after}"


def isolate_leader(cluster: WorkloadCluster, rng: random.Random) -> str:
    """The leader is cut off, and its clients with it; it must not serve them from what it has."""
    leader = cluster.leader()
    before = term(cluster, leader)
    others = [name for name in cluster.names if name != leader]
    cluster.links.cut((leader, other) for other in others)
    try:
        successor = cluster.leader(*others)
        alone = committed(cluster, leader)
        progress(cluster, *others)
        after = term(cluster, successor)
        assert after > before, f"no election followed: term {before}, then {after}"
        more = committed(cluster, leader) - alone
        assert not more, f"{leader} committed {more} entries alone"
    finally:
        cluster.links.heal()
    return f"{leader} was cut off in term {before}, {successor} led in term {after}"


def isolate_follower(cluster: WorkloadCluster, rng: random.Random) -> str:
    """A follower is cut off, and its clients with it; the others go on."""
    leader = cluster.leader()
    name = rng.choice([name for name in cluster.names if name != leader])
    others = [other for other in cluster.names if other != name]
    cluster.links.cut((name, other) for other in others)
    try:
        wait_until(lambda: len(cluster.links.held) == 2, f"{name} to be missed")
        progress(cluster, *others)
        alone = committed(cluster, name)
        progress(cluster, *others)
        more = committed(cluster, name) - alone
        assert not more, f"{name} heard of {more} entries"
    finally:
        cluster.links.heal()
    return f"{name} was cut off and heard of nothing after {alone}"


def kill_all(cluster: WorkloadCluster, rng: random.Random) -> str:
    """`kill -9` of all nodes at the same moment."""
    leader = cluster.leader()
    before = term(cluster, leader)
    cluster.kill()
    cluster.start()
    after = term(cluster, cluster.leader())
    assert after > before, f"no election followed: term {before}, then {after}"
    return f"all were killed in term {before}, led again in term {after}"


def kill_clients(cluster: WorkloadCluster, rng: random.Random) -> str:
    """`kill -9` of a process with clients, amid whatever they were doing; others take their place."""
    name = rng.choice(cluster.names)
    cluster.replace_clients(name)
    progress(cluster, name)
    return f"the clients of {name} were killed"


def pause_clients(cluster: WorkloadCluster, rng: random.Random) -> str:
    """A process with clients stands still, some of them amid a block; the other nodes go on."""
    name = rng.choice(cluster.names)
    others = [other for other in cluster.names if other != name]
    process = cluster.processes[name]
    process.signal(signal.SIGSTOP)
    try:
        progress(cluster, *others)
        progress(cluster, *others)
    finally:
        process.signal(signal.SIGCONT)
    return f"the clients of {name} stood still"


def change_schema(cluster: WorkloadCluster, rng: random.Random) -> str:
    """A column and an index come, and the column goes again, amid everything, from some node."""
    name = rng.choice(cluster.names)
    before = {n: schema_version(cluster.database(n)) for n in cluster.names}
    changed = cluster.change_schema(name)
    for other in cluster.names:
        wait_until(
            lambda n=other: schema_version(cluster.database(n)) > before[n],
            f"another schema on {other}",
        )
    return f"{name} changed the schema {changed} times"


FAULTS: dict[str, Fault] = {
    "kill-leader": kill_leader,
    "pause-leader": pause_leader,
    "kill-follower": kill_follower,
    "stop-leader": stop_leader,
    "no-majority": no_majority,
    "isolate-leader": isolate_leader,
    "isolate-follower": isolate_follower,
    "kill-all": kill_all,
    "kill-clients": kill_clients,
    "pause-clients": pause_clients,
    "change-schema": change_schema,
}


class Nemesis:
    """Runs demanded faults in an order and at moments that a seed decides."""

    def __init__(self, cluster: WorkloadCluster, faults: tuple[str, ...], seed: int) -> None:
        self.cluster = cluster
        self.left = list(faults)
        self.rng = random.Random(f"{seed} nemesis")
        self.rng.shuffle(self.left)
        self.happened: list[tuple[str, float, float, str]] = []
        """Name, from when to when, and what proves it."""

    def run(self, seconds: float, calm_s: float = 1.0) -> None:
        """Each demanded fault once, then any of them until the time is up, then a while of calm."""
        deadline = time.monotonic() + seconds
        demanded = list(self.left)
        while self.left or time.monotonic() < deadline:
            time.sleep(self.rng.uniform(0.5, 1) * calm_s)
            if not self.left:
                if time.monotonic() >= deadline or not demanded:
                    continue
                self.left.append(self.rng.choice(demanded))
            name = self.left[0]
            began = time.monotonic()
            proof = FAULTS[name](self.cluster, self.rng)
            self.cluster.leader()
            progress(self.cluster, *self.cluster.names)
            self.left.pop(0)
            self.happened.append((name, began, time.monotonic(), proof))
        time.sleep(calm_s)
