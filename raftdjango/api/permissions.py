"""Who may: members of the cluster, and staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission

from raftdjango.api.authentication import NodeIdentity, group_of_request
from raftdjango.node.batches import nodes_of
from raftdjango.node.served import REQUEST_KEY

if TYPE_CHECKING:
    from rest_framework.request import Request


class IsClusterMember(BasePermission):
    """A node that proved who it is and may take part.  Raises `PeerRefused`, which says why not."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the request comes from a member."""
        if not isinstance(request.user, NodeIdentity):
            return False
        transport = group_of_request(request).transport
        transport.admit(request.user.envelope.sender, lambda: nodes_of(request.data))
        return True


class IsStaffOrPeer(BasePermission):
    """A signed peer or a staff user, or anybody where the node has no secret.

    Without a secret a node listens on loopback only and believes whoever speaks to it there; to
    ask for a password for *reading* would protect nothing that `messages` does not give away, and
    would make the usual development set-up need a user before it can be looked at.
    """

    message = "Only staff of this site, or a peer, may ask this."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether the request may read the node's status."""
        if not request.META[REQUEST_KEY].node.settings.secret:
            return True
        user = request.user
        if user is None:
            raise NotAuthenticated(self.message)
        return isinstance(user, NodeIdentity) or bool(user.is_active and user.is_staff)
