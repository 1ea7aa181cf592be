"""Handing leadership over (thesis §3.10).

The leader stops taking proposals, brings the target's log up to date and tells it to campaign at
once.  If no other leader has appeared after an election timeout, everything is as before.
"""

from __future__ import annotations

from raftcore import quorum
from raftcore.errors import NotLeader, TransferRefused
from raftcore.messages import TimeoutNow
from raftcore.state import Leading, Node, Transfer
from raftcore.state.progress import Progress, ProgressState
from raftcore.types import NodeId


def start(node: Node, to: NodeId | None) -> None:
    """Begin a transfer; to the best caught-up voter if `to` is None."""
    leading = node.leading
    if leading is None:
        raise NotLeader(node.leader)
    if to is None:
        to = _best(node, leading)
    if to == node.node_id:
        raise TransferRefused(to, "itself")
    if not quorum.is_voter(node.membership, to):
        raise TransferRefused(to, "not a voter")
    if to in node.membership.witnesses:
        raise TransferRefused(to, "witness")
    if leading.progress[to].state is ProgressState.SNAPSHOT:
        raise TransferRefused(to, "snapshot")
    if leading.transfer is None or leading.transfer.to != to:
        leading.transfer = Transfer(to, node.now_ms + node.config.election_timeout_ms)
        proceed(node, leading, to, leading.progress[to])


def proceed(
    node: Node, leading: Leading, member: NodeId, progress: Progress, *, again: bool = False
) -> None:
    """Tell the target to campaign, once it has the whole log; `again` if it may have missed it."""
    transfer = leading.transfer
    if transfer is None or transfer.to != member or (transfer.asked and not again):
        return
    if progress.match_index == node.log.last_index:
        transfer.asked = True
        leading.lease_void = True
        node.outbox.send(member, TimeoutNow(node.current_term, node.node_id))


def on_timer(node: Node, leading: Leading) -> None:
    """Give the transfer up when it takes too long, and take proposals again."""
    if leading.transfer is not None and node.now_ms >= leading.transfer.deadline_ms:
        leading.transfer = None


def _best(node: Node, leading: Leading) -> NodeId:
    candidates = [
        (-leading.progress[voter].match_index, voter)
        for voter in node.other_voters
        if voter not in node.membership.witnesses
        and leading.progress[voter].state is not ProgressState.SNAPSHOT
        and leading.progress[voter].in_contact(node.now_ms, node.config)
    ]
    if not candidates:
        raise TransferRefused(None, "nobody")
    return min(candidates)[1]
