"""Who sends a peer request, and the proof: envelope, signature, replay window.

Every request carries one header and every answer another::

    Authorization:       Raft 1 <from> <to> <cluster> <logged> <forming> <incarnation> <boot> <to_boot> <counter> <mac>
    Authentication-Info: Raft 1 <from> <to> <cluster> <logged> <forming> <incarnation> <boot> <to_boot> <counter> <mac>

An absent field is `-`.  The mac is keyed BLAKE2b-256 over the direction, method (status for an answer),
path, group, every field above and the body.  An answer repeats the counter and both boot ids of its
request, so that it proves to belong to that request and to no other.

There is no wall clock.  A request names the boot id of its *receiver*: what was recorded before the
receiver restarted is stale, and is answered with the new boot id, signed.  What was recorded since
is caught by a sliding window of counters per (sender, boot).

Without a secret the same header travels with `-` for the mac; the node then listens on loopback
only (`raftdjango.node.http.server` sees to it).
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEME = "Raft"
VERSION = "1"
REQUEST_HEADER = "Authorization"
RESPONSE_HEADER = "Authentication-Info"
WINDOW = 4096
"""Counters that may be overtaken: far more than two lanes can have under way."""
BOOTS_MAX = 64
"""Replay windows kept; beyond it this node takes a new boot id, which makes all of them stale."""
HEADER_MAX = 2048


@dataclass(frozen=True, slots=True)
class Standing:
    """What a node says of itself with every message."""

    node_id: str
    cluster: bytes = b""
    """Cluster id that its database has applied; empty until then."""
    logged: bytes = b""
    """Cluster id in its log that it has not applied; empty where there is none."""
    forming: bytes = b""
    """Digest of the initial configuration."""
    incarnation: bytes = b""
    """Of its data directory."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The header's fields, of a request or of an answer."""

    sender: Standing
    receiver: str
    boot: bytes
    """Of the sender."""
    receiver_boot: bytes
    """As the sender knows it; empty at first contact."""
    counter: int
    """Of the request, in its answer too."""


class SignatureRefused(Exception):
    """The message proves nothing: `code` for machines, the text for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StaleBoot(SignatureRefused):
    """A genuine request made for an earlier life of this process; `envelope` says whose."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__("stale_boot", "This node has restarted; send again to its new boot id.")
        self.envelope = envelope


class ReplayWindow:
    """Counters seen of one (sender, boot): each is accepted once, out of order within `WINDOW`."""

    __slots__ = ("_seen", "_top")

    def __init__(self) -> None:
        self._top = 0
        self._seen = 0

    def accept(self, counter: int) -> bool:
        """Take `counter`; False if it was taken before or is too old to tell."""
        ahead = counter - self._top
        if ahead > 0:
            kept = (self._seen << ahead) if ahead < WINDOW else 0
            self._seen = (kept | 1) & ((1 << WINDOW) - 1)
            self._top = counter
            return True
        if -ahead >= WINDOW or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True


def _who(sender: Standing, receiver: str, boot: bytes, receiver_boot: bytes) -> str:
    """All of a header but its counter and mac: the same from request to request."""
    fields = (
        SCHEME,
        VERSION,
        quote(sender.node_id, safe=""),
        quote(receiver, safe=""),
        sender.cluster.hex() or "-",
        sender.logged.hex() or "-",
        sender.forming.hex() or "-",
        sender.incarnation.hex() or "-",
        boot.hex(),
        receiver_boot.hex() or "-",
    )
    return " ".join(fields)


def _bytes(field: str) -> bytes:
    return b"" if field == "-" else bytes.fromhex(field)


def _parse_who(who: str) -> tuple[Standing, str, bytes, bytes]:
    parts = who.split(" ")
    if len(parts) != 10 or parts[0] != SCHEME or len(who) > HEADER_MAX:
        raise SignatureRefused("unsigned", "Peers must send the header 'Raft 1 ...'; this is none.")
    if parts[1] != VERSION:
        raise SignatureRefused("version", f"This node speaks version {VERSION}, not {parts[1]!r}.")
    try:
        sender = Standing(unquote(parts[2]), *map(_bytes, parts[4:8]))
        return sender, unquote(parts[3]), bytes.fromhex(parts[8]), _bytes(parts[9])
    except ValueError:
        raise _malformed() from None


def _malformed() -> SignatureRefused:
    return SignatureRefused("unsigned", "The header 'Raft 1 ...' is malformed.")


# Both directions repeat themselves: the text changes only when somebody restarts or learns.
_encode_who = lru_cache(maxsize=64)(_who)
_decode_who = lru_cache(maxsize=64)(_parse_who)


def _decode(header: str) -> tuple[Envelope, str, str]:
    """The envelope, the text that the mac covers, and the mac."""
    text, _, mac = header.rpartition(" ")
    who, _, number = text.rpartition(" ")
    sender, receiver, boot, receiver_boot = _decode_who(who)
    if not number.isascii() or not number.isdigit() or len(number) > 18 or not boot:
        raise _malformed()
    return Envelope(sender, receiver, boot, receiver_boot, int(number)), text, mac


def _key(secret: str) -> bytes:
    """A key of the length that BLAKE2b takes, from a secret of any length."""
    return hashlib.blake2b(secret.encode(), person=b"raftdjango peer").digest()


class Signer:
    """Signs for one node in one group, and verifies what its peers signed.

    `sign_request` and `verify_response` are called on the loop and by the threads that carry large
    batches, the other two on the loop; what they share is immutable or a counter of C.
    """

    def __init__(
        self, group: str, node_id: str, secret: str, fallbacks: Sequence[str] = ()
    ) -> None:
        self._group = group
        self._node_id = node_id
        self._key = _key(secret) if secret else b""
        self._accepted = [self._key, *map(_key, fallbacks)] if secret else []
        self.boot = os.urandom(16)
        self._windows: OrderedDict[tuple[str, bytes], ReplayWindow] = OrderedDict()
        self._counter = itertools.count(1)

    def _mac(self, key: bytes, what: str, path: str, text: str, body: bytes) -> str:
        head = f"raftdjango peer\n{what}\n{path}\n{self._group}\n{text}\n".encode()
        # OpenSSL's HMAC lets go of the GIL for every digest, however short, and getting it back
        # costs a busy node more than the digest.  Keyed BLAKE2 is a MAC by design (RFC 7693, 2.9).
        return hashlib.blake2b(head + body, key=key, digest_size=32).hexdigest()

    def _seal(self, what: str, path: str, envelope: Envelope, body: bytes) -> str:
        who = _encode_who(envelope.sender, envelope.receiver, envelope.boot, envelope.receiver_boot)
        text = f"{who} {envelope.counter}"
        mac = self._mac(self._key, what, path, text, body) if self._key else "-"
        return f"{text} {mac}"

    def _check(self, what: str, path: str, header: str, body: bytes) -> Envelope:
        envelope, text, mac = _decode(header)
        if envelope.receiver != self._node_id:
            raise SignatureRefused(
                "wrong_receiver",
                f"Meant for node {envelope.receiver!r}, but this is {self._node_id!r}: "
                "do NODES give each node its own address?",
            )
        if not self._accepted:
            if mac != "-":
                raise SignatureRefused(
                    "no_secret",
                    f"Node {self._node_id!r} has no SECRET, its peer has one. Set the same "
                    "RAFTDJANGO['SECRET'] on every node.",
                )
            return envelope
        if mac == "-":
            raise SignatureRefused(
                "unsigned",
                f"Node {self._node_id!r} has a SECRET, but this came unsigned. Set the same "
                "RAFTDJANGO['SECRET'] on every node.",
            )
        given = mac.encode()
        for key in self._accepted:
            if hmac.compare_digest(given, self._mac(key, what, path, text, body).encode()):
                return envelope
        raise SignatureRefused(
            "bad_signature",
            "The signature does not fit. Set the same RAFTDJANGO['SECRET'] on every node, or the "
            "former one in SECRET_FALLBACKS while it is being changed.",
        )

    def sign_request(
        self, method: str, path: str, body: bytes, *, sender: Standing, receiver: str, boot: bytes
    ) -> tuple[str, Envelope]:
        """Header of a request to `receiver`, whose boot id is believed to be `boot`."""
        envelope = Envelope(sender, receiver, self.boot, boot, next(self._counter))
        return self._seal(f"request {method}", path, envelope, body), envelope

    def verify_request(self, method: str, path: str, header: str, body: bytes) -> Envelope:
        """Who sent this request; raises `SignatureRefused`.  A request is accepted once."""
        envelope = self._check(f"request {method}", path, header, body)
        if envelope.receiver_boot != self.boot:
            raise StaleBoot(envelope)
        if not self._window(envelope).accept(envelope.counter):
            raise SignatureRefused(
                "replayed", "This request was received before; it is not taken again."
            )
        return envelope

    def _window(self, envelope: Envelope) -> ReplayWindow:
        key = (envelope.sender.node_id, envelope.boot)
        if key not in self._windows:
            if len(self._windows) >= BOOTS_MAX:
                # A window must not be forgotten while its requests could still be replayed.
                self._windows.clear()
                self.boot = os.urandom(16)
                raise StaleBoot(envelope)
            self._windows[key] = ReplayWindow()
        return self._windows[key]

    def sign_response(
        self, status: int, path: str, body: bytes, *, request: Envelope, sender: Standing
    ) -> str:
        """Header of the answer to `request`."""
        envelope = Envelope(
            sender, request.sender.node_id, self.boot, request.boot, request.counter
        )
        return self._seal(f"response {status}", path, envelope, body)

    def verify_response(
        self, status: int, path: str, header: str, body: bytes, *, request: Envelope
    ) -> Envelope:
        """Who answered `request`; raises `SignatureRefused`."""
        envelope = self._check(f"response {status}", path, header, body)
        if (
            envelope.counter != request.counter
            or envelope.receiver_boot != request.boot
            or envelope.sender.node_id != request.receiver
        ):
            raise SignatureRefused("wrong_answer", "This answer belongs to another request.")
        return envelope
