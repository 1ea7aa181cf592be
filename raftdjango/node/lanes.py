"""One peer's lanes: a thread, an outbox and a `requests` session each, one request at a time.

Heartbeats and votes have a lane of their own, whose requests time out before an election would, so
that they never wait behind data.  Entries travel on the other, whose timeout grows with the bytes.
A lane takes all that is queued, sends it, delivers what rode back, and turns again.  What cannot be
delivered is dropped and reported: Raft repeats, and only Raft knows what is still worth sending.
"""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import requests
from google.protobuf.message import DecodeError

from raftcore.errors import Malformed
from raftdjango.node.batches import decode_batch, encode_batch
from raftdjango.node.fragments import WHOLE_BYTES_MAX, Outgoing
from raftdjango.node.http_adapter import PeerAdapter
from raftdjango.node.outbox import Outbox
from raftdjango.node.peer_pb2 import Batch, Fragment
from raftdjango.node.signing import RESPONSE_HEADER, SignatureRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftdjango.node.forming import Nodes
    from raftdjango.node.peers import PeerItem
    from raftdjango.node.signing import Envelope, Signer, Standing

logger = logging.getLogger("raftdjango.node")

CONTENT_TYPE = "application/x-protobuf"
BATCH_BYTES = 1024 * 1024
"""A lane stops taking items into a batch here."""
CONNECT_S = 1.0
SECONDS_PER_MEBIBYTE = 2.0
"""Slowest link that entries still cross."""
BACKOFF_S_MAX = 1.0
ATTEMPTS = 3
"""Of one batch: a reused connection that had been closed, a stale boot id, and then it must go."""
FRAGMENT_FAILURES_MAX = 5
"""Broken requests in a row after which a large batch is given up."""


class Refused(Exception):
    """The peer answered with a refusal, or with something that is no answer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class LaneOwner(Protocol):
    """What lanes need of their transport.  Called from the lanes' threads."""

    @property
    def standing(self) -> Standing: ...

    @property
    def nodes(self) -> Nodes: ...

    def delivered(self, sender: Standing, items: list[PeerItem]) -> None: ...

    def undelivered(self, to: str, items: Sequence[PeerItem]) -> None: ...


class Peer:
    """What the lanes to one peer share: where it is, its boot id, whether it answers."""

    def __init__(self, node_id: str, url: str, path: str) -> None:
        self.node_id = node_id
        self.url = url.rstrip("/")
        self.path = path
        self.boot = b""
        self.answers = threading.Event()
        """Set while it answers; a lane that waits before it tries again is woken by another's luck."""
        self._troubles: dict[str, str] = {}
        self._known = False
        self._lock = threading.Lock()

    def is_up(self, lane: str) -> None:
        """An answer came on `lane`; says so if that is news."""
        if self._known and not self._troubles:
            return
        with self._lock:
            self._known = True
            self._troubles.pop(lane, None)
            news = not self._troubles
        self.answers.set()
        if news:
            logger.info("Peer %s (%s) answers.", self.node_id, self.url)

    def is_down(self, lane: str, code: str, why: str) -> None:
        """No answer on `lane`, or a refusal; says so once per kind of trouble."""
        with self._lock:
            self._known = True
            news = code not in self._troubles.values()
            self._troubles[lane] = code
            self.answers.clear()
        if news:
            logger.warning("Peer %s (%s): %s", self.node_id, self.url, why)


@dataclass(frozen=True, slots=True)
class LanePlan:
    """How one kind of lane behaves."""

    name: str
    count_max: int
    bytes_max: int
    timeout_s: float
    patience_s: float
    """Longest pause between attempts while the peer does not answer."""


class Lane:
    """One thread that carries one outbox to one peer."""

    def __init__(self, plan: LanePlan, peer: Peer, signer: Signer, owner: LaneOwner) -> None:
        self.plan = plan
        self.peer = peer
        self.outbox = Outbox(count_max=plan.count_max, bytes_max=plan.bytes_max)
        self._signer = signer
        self._owner = owner
        self._stop = threading.Event()
        self._failures = 0
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.clear()
        self._adapter = PeerAdapter()
        self._session.mount(peer.url, self._adapter)
        self._request = self._session.prepare_request(
            requests.Request(
                "POST", peer.url + peer.path, headers={"Content-Type": CONTENT_TYPE}, data=b""
            )
        )
        self._request.headers["Host"] = peer.url.partition("://")[2].partition("/")[0]
        name = f"raft-{plan.name}-{peer.node_id}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def stop(self) -> None:
        """Begin to end; `join` waits for it."""
        self._stop.set()
        self.peer.answers.set()
        self.outbox.wake()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, at most until its request times out."""
        self._thread.join(timeout_s)

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            items = self.outbox.take(BATCH_BYTES)
            if items and not self._stop.is_set():
                self._carry(items)
        self._session.close()

    def _carry(self, items: list[PeerItem]) -> None:
        try:
            batch = encode_batch(items, forming=self._forming())
            if len(batch) > WHOLE_BYTES_MAX:
                self._post_fragments(batch)
            else:
                self._post(batch)
        except (Refused, SignatureRefused) as error:
            self._failed(items, error.code, error.detail)
        except requests.RequestException as error:
            self._failed(items, "unreachable", f"not reachable ({_reason(error)})")
        except Exception:
            # The thread must outlive what it carries: without it the peer would be cut off.
            logger.exception("Peer %s: a batch was dropped.", self.peer.node_id)
            self._failed(items, "error", "a batch was dropped, see above")

    def _forming(self) -> Nodes:
        """Sent along until a cluster id exists, so that the other side can name both lists."""
        return () if self._owner.standing.cluster else self._owner.nodes

    def _failed(self, items: list[PeerItem], code: str, why: str) -> None:
        self.peer.is_down(self.plan.name, code, why)
        self._owner.undelivered(self.peer.node_id, items)
        self._failures += 1
        ceiling = min(self.plan.patience_s, 0.02 * 2 ** min(self._failures, 10))
        # Any lane that gets through ends the pause of all: heartbeats keep probing.
        self.peer.answers.wait(ceiling * self._jitter.uniform(0.5, 1.0))

    def _post(self, batch: bytes) -> Fragment | None:
        """Send one batch, deliver what rode back; the answer's fragment if there is one."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            boot = self.peer.boot
            header, envelope = self._signer.sign_request(
                "POST",
                self.peer.path,
                batch,
                sender=self._owner.standing,
                receiver=self.peer.node_id,
                boot=boot,
            )
            try:
                response = self._send(header, batch)
            except requests.ConnectionError:
                if last or not self._adapter.reused:
                    raise
                continue
            answered = self._answer(response, envelope)
            if answered is None and not last:
                continue
            if answered is None:
                raise Refused("stale_boot", "it keeps changing its boot id")
            return self._accept(answered, response.content)
        raise AssertionError

    def _send(self, header: str, batch: bytes) -> requests.Response:
        timeout_s = self.plan.timeout_s + len(batch) / 2**20 * SECONDS_PER_MEBIBYTE
        self._request.body = batch
        self._request.headers["Content-Length"] = str(len(batch))
        self._request.headers["Authorization"] = header
        return self._adapter.send(
            self._request, timeout=(min(CONNECT_S, self.plan.timeout_s), timeout_s)
        )

    def _answer(self, response: requests.Response, request: Envelope) -> Envelope | None:
        """Who answered; None: it has a new boot id now, send again."""
        header = response.headers.get(RESPONSE_HEADER)
        if header is None:
            # Nobody proved anything: it is worth a line in the log, and nothing else.
            raise Refused(f"http_{response.status_code}", _describe(response))
        envelope = self._signer.verify_response(
            response.status_code, self.peer.path, header, response.content, request=request
        )
        if self.peer.boot != envelope.boot:
            self.peer.boot = envelope.boot
        if response.status_code == 200:
            return envelope
        fields = _json(response)
        if fields.get("code") == "stale_boot":
            return None
        if envelope.sender.cluster:
            # A wiped node must learn even from a refusal that the cluster exists.
            self._owner.delivered(envelope.sender, [])
        raise Refused(str(fields.get("code", "refused")), str(fields.get("detail", "refused")))

    def _accept(self, answer: Envelope, content: bytes) -> Fragment | None:
        self._failures = 0
        self.peer.is_up(self.plan.name)
        if not content:
            self._owner.delivered(answer.sender, [])
            return None
        try:
            batch = Batch.FromString(content)
            items = decode_batch(batch)
        except (DecodeError, Malformed) as error:
            raise Refused("malformed", f"its answer cannot be read ({error})") from error
        self._owner.delivered(answer.sender, items)
        return batch.fragment if batch.HasField("fragment") else None

    def _post_fragments(self, batch: bytes) -> None:
        outgoing = Outgoing(batch)
        failures = 0
        while not self._stop.is_set():
            piece = Batch(fragment=outgoing.piece()).SerializeToString()
            try:
                reply = self._post(piece)
            except requests.RequestException:
                failures += 1
                if failures > FRAGMENT_FAILURES_MAX:
                    raise
                self._stop.wait(self._jitter.uniform(0.05, 0.2) * failures)
                continue
            failures = 0
            if reply is None:
                raise Refused("malformed", "it did not say how much it holds")
            if outgoing.answered(reply):
                return


def _reason(error: BaseException) -> str:
    """The innermost reason, in few words."""
    return str(error.args[0] if error.args else error) or type(error).__name__


def _json(response: requests.Response) -> dict[str, object]:
    try:
        fields = response.json()
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _describe(response: requests.Response) -> str:
    fields = _json(response)
    said = str(fields.get("detail", ""))[:500] or "something that is no raftnode's answer"
    return f"answered {response.status_code}, unsigned: {said}"
