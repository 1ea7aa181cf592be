"""What the endpoints need of the node that they are served by.

The node's HTTP server puts itself into each request (`REQUEST_KEY`), so that several nodes can live
in one process, as they do in tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftdjango.conf import Settings
    from raftdjango.node.peers.transport import Transport

REQUEST_KEY = "raftdjango.server"
"""Where a request's META holds the `Server`."""


class ServedGroup(Protocol):
    """One group, seen from its endpoints.  Called on the loop."""

    @property
    def transport(self) -> Transport: ...

    def status(self) -> dict[str, Any]:
        """What `raftctl status --json` prints."""


class ServedNode(Protocol):
    """A raftnode, seen from its endpoints."""

    @property
    def settings(self) -> Settings: ...

    @property
    def groups(self) -> Mapping[str, ServedGroup]: ...


class Server(Protocol):
    """The server of a request."""

    node: ServedNode

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, made on the loop; for views that run in the pool."""
