"""A peer in the test's hand, which signs like a node and sends whatever it is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import requests

from raftcore.messages import Heartbeat
from raftdjango.node.peers.batches import encode_batch
from raftdjango.node.peers.signing import Signer, Standing
from raftdjango.node.peers.transport import messages_path
from tests.api.nodes import GROUP, SECRET, Node, make_node

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = messages_path(GROUP)
HEARTBEAT = Heartbeat(term=1, leader="n1", leader_commit=0, sequence=1)
PROTOBUF = "application/x-protobuf"


class Caller:
    """Peer `n1` in hand: signs like a node, sends whatever it is told."""

    def __init__(self, target: Node, secret: str = SECRET) -> None:
        self.target = target
        self.signer = Signer(GROUP, "n1", secret)
        self.standing = Standing(
            "n1", forming=target.forming.standing.forming, incarnation=b"i" * 16
        )

    def sign(self, body: bytes, path: str = PATH, boot: bytes | None = None) -> str:
        boot = self.target.transport.signer.boot if boot is None else boot
        header, self.sent = self.signer.sign_request(
            "POST", path, body, sender=self.standing, receiver="n2", boot=boot
        )
        return header

    def post(self, body: bytes, **headers: str) -> requests.Response:
        given = {"Content-Type": PROTOBUF, "Authorization": self.sign(body), **headers}
        return requests.post(self.target.url + PATH, data=body, headers=given, timeout=10)


def with_node(scenario: Callable[[Node, Caller], Any], **settings: Any) -> Any:
    """Run `scenario` in a thread beside node n2; n1 is in its list but is no process."""

    async def main() -> Any:
        n2 = make_node("n2", **settings)
        await n2.listen()
        try:
            await n2.join({"n1": "http://127.0.0.1:9", "n2": n2.url})
            return await asyncio.to_thread(scenario, n2, Caller(n2, n2.settings.secret))
        finally:
            await n2.stop()

    return asyncio.run(main())


def refusal(response: requests.Response) -> tuple[int, str]:
    """Status and code; every refusal has the same shape."""
    fields = response.json()
    assert set(fields) == {"code", "detail", "leader"}
    assert fields["detail"]
    assert response.headers["Content-Type"] == "application/json"
    return response.status_code, fields["code"]


def still_serves(n2: Node, caller: Caller) -> None:
    n2.group.arrived.clear()
    assert caller.post(encode_batch([HEARTBEAT])).status_code == 200
    assert n2.group.items == [HEARTBEAT]
