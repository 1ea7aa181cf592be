"""A real cluster, with a process of clients on each node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.harness import Cluster, Worker, free_ports
from tests.workloads.history import Operation, read
from tests.workloads.links import Links

COMMIT_TIMEOUT_S = 5
"""Short, so that outcomes get unknown; longer than it takes to start a node that was killed, so that
its clients propose again what it may have had in its log."""
END_S = 120.0
"""How long clients may take to end what they have begun: `resolve()` takes its time."""


class ClientProcess(Worker):
    module = "tests.workloads.client"


class WorkloadCluster(Cluster):
    """Three nodes, and clients that run workloads until told to stop."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, COMMIT_TIMEOUT_S=COMMIT_TIMEOUT_S)
        self.links = Links()
        for name, port in zip(self.names, free_ports(len(self.names)), strict=True):
            heard_at = urlsplit(self.urls[name]).port
            assert heard_at
            self.listen[name] = f"127.0.0.1:{port}"
            self.links.listen(name, heard_at, port)
        self.processes: dict[str, ClientProcess] = {}
        self._sites = dict(zip(self.names, free_ports(len(self.names)), strict=True))
        self._histories: list[Path] = []
        self._stop = folder / "stop"
        self._generation = 0
        self._order: dict[str, Any] = {}
        self._workloads: Sequence[str] = ()

    def environment(self, name: str) -> dict[str, str]:
        return super().environment(name) | {"DJANGO_SETTINGS_MODULE": "tests.workloads.settings"}

    def begin(self, workloads: Sequence[str], clients: int, seed: int, seconds: float) -> None:
        """Form the cluster, make the tables and rows, and set the clients on."""
        self.start()
        self.leader()
        for name in self.names:
            self.processes[name] = self._process(name)
        first = self.processes[self.names[0]]
        first.call("migrate")
        first.call("prepare", workloads, seconds)
        self.assert_equal()
        self._workloads = workloads
        self._order = {"clients": clients * len(self.names), "seed": seed, "sites": self._sites}
        self._order["started"] = time.monotonic()
        for name in self.names:
            self._set_on(name)

    def close(self) -> None:
        super().close()
        self.links.close()

    def replace_clients(self, name: str) -> None:
        """Kill a node's clients, and set others on."""
        self.processes[name].close()
        self.workers.remove(self.processes[name])
        self._generation += 1
        self.processes[name] = self._process(name)
        self._set_on(name)

    def change_schema(self, name: str) -> int:
        """Have another process of a node do so; how many changes it was."""
        process = ClientProcess(self.environment(name), self.folder / name / "schema.log")
        try:
            return int(process.call("change_schema"))
        finally:
            process.close()

    def finish(self) -> list[Operation]:
        """Let the clients end what they have begun; what all of them did."""
        self._stop.touch()
        for process in self.processes.values():
            process.result(timeout_s=END_S)
        return self.operations()

    def operations(self) -> list[Operation]:
        """What all clients have done so far."""
        return read(self._histories)

    def _process(self, name: str) -> ClientProcess:
        log = self.folder / name / "clients.log"
        process = ClientProcess(self.environment(name), log)
        self.workers.append(process)
        process.call("serve", self._sites[name])
        return process

    def _set_on(self, name: str) -> None:
        history = self.folder / name / f"history-{len(self._histories)}.jsonl"
        self._histories.append(history)
        self.processes[name].begin("run", self._orders(name), str(history), str(self._stop))

    def _orders(self, name: str) -> list[dict[str, Any]]:
        """One for each client of a node; numbers of one workload are consecutive over all nodes."""
        size = self._order["clients"]
        of_node = self.names.index(name)
        orders = []
        for place, workload in enumerate(self._workloads):
            first = (self._generation * len(self._workloads) + place) * size
            for n in range(of_node, size, len(self.names)):
                number = first + n
                client = f"{name}/{workload}/{number}"
                orders.append(
                    {
                        **self._order,
                        "workload": workload,
                        "name": client,
                        "number": number,
                        "node": name,
                    }
                )
        return orders
