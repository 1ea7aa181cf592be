"""One signed request to a peer: how it is made, and what the answer to it means.

Neither sends anything: `lanes` does from the loop, `bulk` from a thread of its own.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.message import DecodeError

from raftcore.errors import Malformed
from raftdjango.node.peers.batches import decode_batch
from raftdjango.node.peers.peer_pb2 import Batch, Fragment
from raftdjango.node.peers.signing import RESPONSE_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftdjango.node.peers.port import PeerItem
    from raftdjango.node.peers.signing import Signer, Standing

logger = logging.getLogger("raftdjango.node")

CONTENT_TYPE = "application/x-protobuf"
ATTEMPTS = 3
"""Of one batch: a reused connection that had been closed, a stale boot id, and then it must go."""
SECONDS_PER_MEBIBYTE = 2.0
"""Slowest link that entries still cross."""


class Refused(Exception):
    """The peer answered with a refusal, or with something that is no answer."""

    def __init__(self, code: str, detail: str, sender: Standing | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.sender = sender
        """Who refused, where that is proven."""


class Peer:
    """What all ways to one peer share: where it is, its boot id, whether it answers."""

    def __init__(self, node_id: str, url: str, path: str) -> None:
        self.node_id = node_id
        self.url = url.rstrip("/")
        self.path = path
        self.boot = b""
        self.on_answer: list[Callable[[], None]] = []
        """Called on the loop when one way gets through: the others need not pause any longer."""
        self._troubles: dict[str, str] = {}
        self._known = False

    @property
    def host(self) -> str:
        """As in the header `Host`."""
        return self.url.partition("://")[2].partition("/")[0]

    def is_up(self, way: str) -> None:
        """An answer came by `way`; says so if that is news."""
        if self._known and not self._troubles:
            return
        self._known = True
        self._troubles.pop(way, None)
        if not self._troubles:
            logger.info("Peer %s (%s) answers.", self.node_id, self.url)
        for call in self.on_answer:
            call()

    def is_down(self, way: str, code: str, why: str) -> None:
        """No answer by `way`, or a refusal; says so once per kind of trouble."""
        self._known = True
        news = code not in self._troubles.values()
        self._troubles[way] = code
        if news:
            logger.warning("Peer %s (%s): %s", self.node_id, self.url, why)


class Reply(NamedTuple):
    """An answer that counts."""

    sender: Standing
    items: list[PeerItem]
    fragment: Fragment | None


class Call:
    """`batch`, signed for `peer`."""

    def __init__(self, peer: Peer, signer: Signer, standing: Standing, batch: bytes) -> None:
        self._peer = peer
        self._signer = signer
        self.batch = batch
        self.authorization, self._envelope = signer.sign_request(
            "POST", peer.path, batch, sender=standing, receiver=peer.node_id, boot=peer.boot
        )

    def reply(self, status: int, headers: Mapping[str, str], content: bytes) -> Reply | None:
        """What the answer says; None: the peer has restarted, make another call.

        Raises `Refused`, or `SignatureRefused` for an answer that proves nothing.
        """
        header = headers.get(RESPONSE_HEADER.lower())
        if header is None:
            # Nobody proved anything: it is worth a line in the log, and nothing else.
            raise Refused(f"http_{status}", _describe(status, content))
        peer = self._peer
        envelope = self._signer.verify_response(
            status, peer.path, header, content, request=self._envelope
        )
        if peer.boot != envelope.boot:
            peer.boot = envelope.boot
        if status == 200:
            return _read(envelope.sender, content)
        fields = _json(content)
        if fields.get("code") == "stale_boot":
            return None
        code, detail = str(fields.get("code", "refused")), str(fields.get("detail", "refused"))
        raise Refused(code, detail, envelope.sender)


def _read(sender: Standing, content: bytes) -> Reply:
    if not content:
        return Reply(sender, [], None)
    try:
        batch = Batch.FromString(content)
        items = decode_batch(batch)
    except (DecodeError, Malformed) as error:
        raise Refused("malformed", f"its answer cannot be read ({error})") from error
    return Reply(sender, items, batch.fragment if batch.HasField("fragment") else None)


def _json(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _describe(status: int, content: bytes) -> str:
    said = str(_json(content).get("detail", ""))[:500] or "something that is no raftnode's answer"
    return f"answered {status}, unsigned: {said}"
