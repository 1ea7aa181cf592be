"""What a node keeps, without a rule of who does what when.

Node                node, leading (what only a leader has), clock
The log             log, of which terms, membership and writes are parts
Followers           progress (what a leader knows of each)
On the way out      outbox (messages), applying (entries), reads (answers)
"""

from raftcore.state.leading import HEARTBEATS_REMEMBERED_MAX, Leading, Transfer
from raftcore.state.node import Installing, Node

__all__ = ["HEARTBEATS_REMEMBERED_MAX", "Installing", "Leading", "Node", "Transfer"]
