"""Large batches: in pieces, by `requests`, on a thread of their own.

Encoding, digesting and signing tens of megabytes takes far longer than a heartbeat may wait for the
loop, and what they cost dwarfs the hand-off to a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter

from raftdjango.node.peers.batches import encode_large
from raftdjango.node.peers.calls import (
    ATTEMPTS,
    CONTENT_TYPE,
    SECONDS_PER_MEBIBYTE,
    Call,
    Refused,
    Reply,
)
from raftdjango.node.peers.connection import CONNECT_S, RESPONSE_BYTES_MAX
from raftdjango.node.peers.fragments import Outgoing
from raftdjango.node.peers.peer_pb2 import Batch
from raftdjango.node.rope import Rope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.node.forming.decisions import Nodes
    from raftdjango.node.peers.calls import Peer
    from raftdjango.node.peers.port import PeerItem
    from raftdjango.node.peers.signing import Signer, Standing

FAILURES_MAX = 5
"""Broken requests in a row after which a large batch is given up."""


class Bulk:
    """One lane's way for large batches."""

    def __init__(self, timeout_s: float, peer: Peer, signer: Signer) -> None:
        self._timeout_s = timeout_s
        self._peer = peer
        self._signer = signer
        self._stop = threading.Event()
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.clear()
        self._session.mount(peer.url, HTTPAdapter(pool_maxsize=1, max_retries=0))

    def stop(self) -> None:
        """End after the request under way; nothing is called back any more."""
        self._stop.set()
        # A connection in use comes back to a pool that is closed, and is closed then.
        self._session.close()

    def carry(
        self,
        items: Sequence[PeerItem],
        forming: Nodes,
        standing: Standing,
        *,
        on_reply: Callable[[Reply], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        """Begin to send `items`; one at a time.

        On the loop: `on_reply` with the answer to each piece; then `on_end`, with `Refused`,
        `SignatureRefused`, `OSError` or whatever else it was that ended it too early.
        """
        loop = asyncio.get_running_loop()

        def tell(call: Callable[..., None], argument: object) -> None:
            def told() -> None:
                if not self._stop.is_set():
                    call(argument)

            # A loop that is closed has stopped without waiting for us.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(told)

        def run() -> None:
            try:
                outgoing = Outgoing(Rope(encode_large(items, forming=forming)))
                self._send(outgoing, standing, lambda reply: tell(on_reply, reply))
            except Exception as error:
                tell(on_end, error)
            else:
                tell(on_end, None)

        # A daemon: a peer that does not answer must not hold up the end of the process.
        threading.Thread(target=run, name=f"raft-bulk-{self._peer.node_id}", daemon=True).start()

    def _send(
        self, outgoing: Outgoing, standing: Standing, on_reply: Callable[[Reply], None]
    ) -> None:
        failures = 0
        while not self._stop.is_set():
            piece = Batch(fragment=outgoing.piece()).SerializeToString()
            try:
                reply = self._post(piece, standing)
            except requests.RequestException as error:
                failures += 1
                if failures > FAILURES_MAX:
                    raise ConnectionError(_reason(error)) from error
                self._stop.wait(self._jitter.uniform(0.05, 0.2) * failures)
                continue
            failures = 0
            on_reply(reply)
            if reply.fragment is None:
                raise Refused("malformed", "it did not say how much it holds")
            if outgoing.answered(reply.fragment):
                return

    def _post(self, piece: bytes, standing: Standing) -> Reply:
        timeout_s = self._timeout_s + len(piece) / 2**20 * SECONDS_PER_MEBIBYTE
        for _ in range(ATTEMPTS):
            call = Call(self._peer, self._signer, standing, piece)
            response = self._session.post(
                self._peer.url + self._peer.path,
                data=piece,
                headers={"Content-Type": CONTENT_TYPE, "Authorization": call.authorization},
                timeout=(CONNECT_S, timeout_s),
                allow_redirects=False,
                stream=True,
            )
            headers = {name.lower(): value for name, value in response.headers.items()}
            with response:
                content = _content(response)
            reply = call.reply(response.status_code, headers, content)
            if reply is not None:
                return reply
        raise Refused("stale_boot", "it keeps changing its boot id")


def _content(response: requests.Response) -> bytes:
    """All of it, if that is no more than an answer may have."""
    content = b""
    for part in response.iter_content(64 * 1024):
        content += part
        if len(content) > RESPONSE_BYTES_MAX:
            raise ConnectionError("the answer is too long")
    return content


def _reason(error: BaseException) -> str:
    """The innermost reason, in few words."""
    return str(error.args[0] if error.args else error) or type(error).__name__
