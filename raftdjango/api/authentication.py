"""Who asks: a peer by its signature, a person as Django staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rest_framework.authentication import BaseAuthentication, BasicAuthentication

from raftdjango.api.errors import unknown_group
from raftdjango.node.served import REQUEST_KEY
from raftdjango.node.signing import SCHEME, SignatureRefused

if TYPE_CHECKING:
    from rest_framework.request import Request

    from raftdjango.node.served import ServedGroup
    from raftdjango.node.signing import Envelope

SIGNED = f"{SCHEME} "


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """`request.user` of a peer's request: what it proved to be."""

    node_id: str
    envelope: Envelope
    is_authenticated = True
    is_active = True
    is_staff = False

    def __str__(self) -> str:
        return f"node {self.node_id}"


def group_of_request(request: Request) -> ServedGroup:
    """The group in the request's path."""
    # Past DRF's request, whose attributes cost ten times a dictionary's.
    plain = request._request
    groups = plain.META[REQUEST_KEY].node.groups
    name = request.parser_context["kwargs"]["group"]
    try:
        return groups[name]  # type: ignore[no-any-return]
    except KeyError:
        raise unknown_group(name, list(groups)) from None


class PeerAuthentication(BaseAuthentication):
    """Verifies the header `Authorization: Raft ...` over path and body."""

    def authenticate(self, request: Request) -> tuple[NodeIdentity, Envelope] | None:
        """The peer; None without such a header.  Raises `SignatureRefused`."""
        plain = request._request
        header = plain.META.get("HTTP_AUTHORIZATION", "")
        if not header.startswith(SIGNED):
            return None
        signer = group_of_request(request).transport.signer
        envelope = signer.verify_request(plain.method or "", plain.path, header, plain.body)
        return NodeIdentity(envelope.sender.node_id, envelope), envelope

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return SCHEME


class OnlyPeers(PeerAuthentication):
    """As above, and nobody else: a request without the header is refused with its reason."""

    def authenticate(self, request: Request) -> tuple[NodeIdentity, Envelope]:
        """The peer.  Raises `SignatureRefused`."""
        found = super().authenticate(request)
        if found is None:
            raise SignatureRefused("unsigned", "Only peers may ask this, signed as 'Raft 1 ...'.")
        return found


class StaffAuthentication(BasicAuthentication):
    """HTTP basic authentication against the project's own users; without it, nobody."""

    www_authenticate_realm = "raftdjango"

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """The user, or None in its place: never the project's idea of an anonymous user."""
        return super().authenticate(request) or (None, None)


class StaffOrPeerAuthentication(StaffAuthentication):
    """A signed peer, or as above."""

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """The peer or the user.  Raises `SignatureRefused`."""
        return PeerAuthentication().authenticate(request) or super().authenticate(request)


__all__ = [
    "NodeIdentity",
    "OnlyPeers",
    "PeerAuthentication",
    "StaffAuthentication",
    "StaffOrPeerAuthentication",
    "group_of_request",
]
