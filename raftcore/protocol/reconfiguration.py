"""A leader changing who takes part (paper §6; thesis chapter 4).

One change at a time, and none before an entry of the leader's own term is committed: without that,
two leaders could go on from the same membership with changes whose majorities share nobody
(Ongaro's erratum of 2015 to thesis §4.1).  A membership counts from its append; what follows from
it waits for its commit: leaving a joint configuration, stepping down, telling who was removed.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftcore import changes, quorum
from raftcore.codec import encode_membership
from raftcore.errors import ChangeRefused, NotLeader
from raftcore.messages import Removed, TimeoutNow
from raftcore.state import Leading, Node
from raftcore.state.progress import Progress
from raftcore.types import EntryKind, Membership, NodeId


def change(
    node: Node, wanted: Sequence[changes.Change], mode: changes.JointMode, based_on: int | None
) -> tuple[int, int]:
    """Append the membership that these changes make; (index, term) of its entry."""
    leading = _ready(node, based_on)
    if node.membership.joint:
        raise ChangeRefused(
            "in progress", "A joint configuration is in force; ask again when it is left."
        )

    def caught_up(member: NodeId) -> bool:
        progress = leading.progress.get(member)
        return progress is not None and progress.caught_up(node.now_ms, node.config)

    return _append(node, leading, changes.changed(node.membership, wanted, mode, caught_up))


def leave_joint(node: Node) -> tuple[int, int]:
    """Append the membership that follows the joint configuration; (index, term) of its entry."""
    leading = _ready(node, None)
    if not node.membership.joint:
        raise ChangeRefused(
            "not joint", "No joint configuration is in force; there is nothing to do."
        )
    return _append(node, leading, changes.left(node.membership))


def follow_up(node: Node) -> None:
    """Do what had to wait until the membership in force is committed.

    Looked at in every turn, so that what a transfer held up or an earlier leader began is done too.
    """
    leading, log, membership = node.leading, node.log, node.membership
    if leading is None or log.membership_index > log.commit_index:
        return
    for member in leading.leaving:
        node.outbox.send(member, Removed(node.current_term, node.node_id))
    leading.leaving = []
    if membership.joint:
        if not membership.auto_leave or log.term(log.commit_index) != node.current_term:
            return
        # No size limit and no client stands in the way of this entry; whoever takes over after a
        # transfer finds the joint configuration in its log and leaves it in its turn.
        if leading.transfer is None:
            _append(node, leading, changes.left(membership))
    elif not quorum.is_voter(membership, node.node_id):
        _step_down(node, leading)


def _ready(node: Node, based_on: int | None) -> Leading:
    log, leading = node.log, node.leading
    if leading is None:
        raise NotLeader(node.leader)
    if leading.transfer is not None:
        raise ChangeRefused("transferring", "Leadership is being handed over; ask the new leader.")
    if log.term(log.commit_index) != node.current_term:
        raise ChangeRefused(
            "nothing committed",
            "This leader has not committed an entry of its own term yet; ask again when it has.",
        )
    if log.membership_index > log.commit_index:
        raise ChangeRefused(
            "in progress", "The change before is not committed; ask again when it is."
        )
    if based_on is not None and based_on != log.membership_index:
        raise ChangeRefused(
            "outdated",
            f"The membership was changed by entry {log.membership_index}; what was asked for is "
            f"based on that of entry {based_on}. Look again, and ask for what is still wanted.",
        )
    return leading


def _append(node: Node, leading: Leading, membership: Membership) -> tuple[int, int]:
    index = node.append(EntryKind.MEMBERSHIP, encode_membership(membership))
    _reconcile(node, leading)
    return index, node.current_term


def _reconcile(node: Node, leading: Leading) -> None:
    """Begin to send to whoever is new, and stop with whoever is gone."""
    known = leading.progress
    members = sorted(node.membership.members - {node.node_id})
    leading.leaving += [member for member in known if member not in members]
    next_index = node.log.last_index
    leading.progress = {
        member: known.get(member) or Progress(next_index, leading.next_session())
        for member in members
    }


def _step_down(node: Node, leading: Leading) -> None:
    # "The leader steps down (returns to follower state) once it has committed the C_new log entry"
    # (paper §6).  It asks the best of those that stay to take over at once, or they would wait for
    # an election timeout (thesis §4.2.2).
    heirs = [
        (-leading.progress[voter].match_index, voter)
        for voter in sorted(node.membership.voters - node.membership.witnesses)
    ]
    node.outbox.send(min(heirs)[1], TimeoutNow(node.current_term, node.node_id))
    node.become_follower(node.current_term, None)
