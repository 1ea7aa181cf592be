"""The raftnode that runs in this process, for code that is called without being handed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftdjango.node.process import RaftNode

_running: RaftNode | None = None


def running() -> RaftNode | None:
    """This process' node, while it runs."""
    return _running


def set_running(node: RaftNode | None) -> None:
    """Called by the node itself."""
    global _running
    _running = node
