"""How clusters form: whole nodes with logs and databases, speaking over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from typing import TYPE_CHECKING

from raftdjango.conf import Settings
from raftdjango.node.process import RaftNode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    import pytest

GROUP = "default"


def free_urls(*names: str) -> dict[str, str]:
    """Addresses that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = [sock.getsockname()[1] for sock in taken]
    return {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}


class Machines:
    """A folder per node, and the raftnodes that run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.urls = free_urls("n1", "n2", "n3")
        self.nodes: dict[str, RaftNode] = {}

    async def start(self, *names: str, nodes: dict[str, str] | None = None) -> None:
        for name in names:
            home = self.folder / name
            home.mkdir(exist_ok=True)
            settings = Settings(
                node_id=name,
                nodes=nodes or self.urls,
                secret="s",
                data_dir=home / "raft",
                election_timeout_ms=300,
                heartbeat_ms=50,
            )
            node = RaftNode(settings, {GROUP: home / "db.sqlite3"})
            await node.start()
            self.nodes[name] = node

    async def stop(self, *names: str) -> None:
        for name in names or tuple(self.nodes):
            await self.nodes.pop(name).stop()

    async def wipe(self, *names: str) -> None:
        """The machines lose their disks."""
        await self.stop(*names)
        for name in names:
            shutil.rmtree(self.folder / name)

    def ids(self) -> dict[str, bytes]:
        """The cluster that each running node belongs to; empty: none."""
        return {name: node.groups[GROUP].cluster_id for name, node in self.nodes.items()}

    def formed(self) -> bool:
        """All that run belong to one cluster."""
        return len(set(self.ids().values())) == 1 and all(self.ids().values())

    def bound(self) -> bool:
        """The log binds every member's data directory, and every node that runs knows."""
        return all(len(node.groups[GROUP].forming.bound) == 3 for node in self.nodes.values())


async def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def on_machines(
    tmp_path: Path, scenario: Callable[[Machines], Coroutine[None, None, None]]
) -> None:
    async def main() -> None:
        machines = Machines(tmp_path)
        try:
            await scenario(machines)
        finally:
            await machines.stop()

    asyncio.run(main())


def test_one_node_first_and_the_others_later(tmp_path: Path) -> None:
    async def scenario(machines: Machines) -> None:
        await machines.start("n1")
        alone = machines.nodes["n1"].groups[GROUP]
        # It has tried, and must not have formed anything.
        await until(lambda: alone.status()["role"] == "pre_candidate")
        assert machines.ids() == {"n1": b""}
        await machines.start("n2", "n3")
        await until(lambda: machines.formed() and machines.bound())

    on_machines(tmp_path, scenario)


def test_a_late_third_node(tmp_path: Path) -> None:
    async def scenario(machines: Machines) -> None:
        await machines.start("n1", "n2")
        await until(machines.formed)
        before = machines.ids()["n1"]
        await machines.start("n3")
        await until(lambda: machines.formed() and machines.bound())
        assert machines.ids()["n3"] == before

    on_machines(tmp_path, scenario)


def test_differing_lists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(machines: Machines) -> None:
        await machines.start("n1", "n2")
        other = {**machines.urls, "n4": "http://127.0.0.1:9"}
        await machines.start("n3", nodes=other)
        await until(lambda: machines.ids()["n1"] and machines.ids()["n2"])
        await until(lambda: "Make them equal on every node" in caplog.text)
        assert not machines.ids()["n3"]

    on_machines(tmp_path, scenario)
    assert "n4: http://127.0.0.1:9" in caplog.text


def test_a_changed_list_is_ignored_once_there_is_an_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(machines: Machines) -> None:
        await machines.start("n1", "n2", "n3")
        await until(lambda: machines.formed() and machines.bound())
        await machines.stop("n3")
        await machines.start("n3", nodes={"n3": machines.urls["n3"], "n9": "http://127.0.0.1:9"})
        await until(machines.formed)
        await until(lambda: machines.nodes["n3"].groups[GROUP].status()["leader"])

    on_machines(tmp_path, scenario)
    assert "ignored" in caplog.text
    assert "n9: http://127.0.0.1:9" in caplog.text


def test_a_wiped_node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(machines: Machines) -> None:
        await machines.start("n1", "n2", "n3")
        await until(lambda: machines.formed() and machines.bound())
        await machines.wipe("n3")
        await machines.start("n3")
        await until(lambda: "Bring the former DATA_DIR and database file back" in caplog.text)
        assert not machines.ids()["n3"]
        # A restart of the others changes nothing: the log has it.
        await machines.stop("n1", "n2")
        caplog.clear()
        await machines.start("n1", "n2")
        await until(lambda: machines.nodes["n1"].groups[GROUP].status()["leader"] in ("n1", "n2"))
        await until(lambda: "Bring the former DATA_DIR and database file back" in caplog.text)
        assert not machines.ids()["n3"]

    on_machines(tmp_path, scenario)


def test_two_wiped_nodes_form_no_second_cluster(tmp_path: Path) -> None:
    async def scenario(machines: Machines) -> None:
        await machines.start("n1", "n2", "n3")
        await until(lambda: machines.formed() and machines.bound())
        await machines.wipe("n2", "n3")
        survivor = machines.nodes["n1"].groups[GROUP]
        await until(lambda: survivor.status()["leader"] is None)
        await machines.start("n2")
        # The survivor's pre-votes, or its refusal of n2's, tell n2 what there is.
        await until(lambda: machines.nodes["n2"].groups[GROUP].forming._told)
        await machines.start("n3")
        await until(lambda: machines.nodes["n3"].groups[GROUP].forming._told)
        assert machines.ids()["n2"] == machines.ids()["n3"] == b""
        assert machines.ids()["n1"]

    on_machines(tmp_path, scenario)
