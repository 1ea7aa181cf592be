"""Who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission

from raftdjango.api.authentication import NodeIdentity
from raftdjango.node.http.served import REQUEST_KEY

if TYPE_CHECKING:
    from rest_framework.request import Request


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
