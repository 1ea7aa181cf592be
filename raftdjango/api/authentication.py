"""Who asks: a peer by its signature, a person as Django staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rest_framework.authentication import BaseAuthentication, BasicAuthentication

from raftdjango.api.errors import unknown_group
from raftdjango.node.http.served import REQUEST_KEY
from raftdjango.node.peers.signing import SCHEME, SignatureRefused

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request

    from raftdjango.node.http.served import ServedGroup
    from raftdjango.node.peers.signing import Envelope
    from raftdjango.node.peers.transport import Transport

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


def find_group(request: HttpRequest, name: str) -> ServedGroup:
    """A group of the node that serves `request`."""
    groups = request.META[REQUEST_KEY].node.groups
    try:
        return groups[name]  # type: ignore[no-any-return]
    except KeyError:
        raise unknown_group(name, list(groups)) from None


def group_of_request(request: Request) -> ServedGroup:
    """The group in the request's path."""
    return find_group(request._request, request.parser_context["kwargs"]["group"])


def verify(request: HttpRequest, transport: Transport) -> Envelope:
    """The peer that signed `request`: header `Authorization: Raft ...`, over path and body.

    Raises `SignatureRefused`.
    """
    header = request.META.get("HTTP_AUTHORIZATION", "")
    if not header.startswith(SIGNED):
        raise SignatureRefused("unsigned", "Only peers may ask this, signed as 'Raft 1 ...'.")
    return transport.signer.verify_request(request.method or "", request.path, header, request.body)


class PeerAuthentication(BaseAuthentication):
    """A peer, by its signature."""

    def authenticate(self, request: Request) -> tuple[NodeIdentity, Envelope] | None:
        """The peer; None without such a header.  Raises `SignatureRefused`."""
        plain = request._request
        if not plain.META.get("HTTP_AUTHORIZATION", "").startswith(SIGNED):
            return None
        envelope = verify(plain, group_of_request(request).transport)
        return NodeIdentity(envelope.sender.node_id, envelope), envelope

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return SCHEME


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
