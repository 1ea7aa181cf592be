"""Voters that keep no data, for two machines and a small third.

A witness holds index and term of every entry, so that its vote and its copy mean what those of any
voter mean: whoever it votes for has everything it knows to be agreed.  What it cannot do is hand on
data, so it never leads, and witnesses are never a majority (`changes`): of any majority one voter
holds the data, and only one that holds all of it can be elected.

Safe is not enough.  Had the witness been told of an entry that only the leader holds, and the
leader died, then nobody who is left could win the witness's vote, for want of data that is on a
dead machine.  So as long as the others that keep data are well, the witness learns of an entry only
once they have agreed upon it without its voice, and any single failure leaves somebody who can
lead.  When they have not agreed for an election timeout, its voice is needed, and it is told of
everything.  From then until the one that fell silent has caught up, its partner must not fail: that
would be the second failure, and nothing is lost by it, but nothing can be written until the partner
is back.
"""

from __future__ import annotations

from raftcore import quorum
from raftcore.errors import InvariantViolation
from raftcore.state import Leading, Node
from raftcore.state.log import RaftLog
from raftcore.types import Entry, EntryKind, Membership, NodeId


def without_data(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """What a witness keeps.  Memberships stay whole: it has to know who votes."""
    return tuple(
        Entry(entry.index, entry.term, EntryKind.WITNESSED, entry.time_ms, b"")
        if entry.kind is EntryKind.COMMAND
        else entry
        for entry in entries
    )


def keeps(node: Node, entries: tuple[Entry, ...]) -> tuple[Entry, ...] | None:
    """What this node keeps of entries that it was sent; None if it may not take them.

    It goes by its own setting, whatever the leader takes it for.
    """
    if node.config.witness:
        return without_data(entries)
    if any(entry.kind is EntryKind.WITNESSED for entry in entries):
        return None
    return entries


def check_start(log: RaftLog, node_id: NodeId, *, witness: bool) -> None:
    """A log without data must not come to be taken for one with data, nor the reverse."""
    membership = log.membership
    if any(
        len(half & membership.witnesses) >= quorum.majority(len(half))
        for half in quorum.halves(membership)
    ):
        raise ValueError("Witnesses are a majority of the voters.")
    if node_id in membership.members and witness is not (node_id in membership.witnesses):
        kind = "a witness" if witness else "no witness"
        raise InvariantViolation(
            f"{node_id} is set up as {kind}, but its log says otherwise: what it is in this it "
            "stays. Undo the setting, or let the machine come back as a new member, with a new "
            "node id and empty files."
        )


def limit(node: Node, leading: Leading) -> int:
    """The last entry that witnesses may be told of.

    Never one that is not on the disk of a voter with data: a crash of this leader would take it, or
    its leaving, when it is no voter itself any more, and then nobody could win the witness's vote.
    """
    membership, log = node.membership, node.log

    def held(member: NodeId) -> int:
        if member in membership.witnesses:
            return 0
        return log.stable_index if member == node.node_id else leading.progress[member].match_index

    safe = max(map(held, quorum.voters(membership)))
    if not _can_do_without(membership):
        return safe
    agreed = quorum.reached(membership, held)
    waited_ms = node.now_ms - leading.agreed_since_ms
    in_time = waited_ms < node.config.election_timeout_ms
    if agreed >= leading.agreed_next:
        leading.witnesses_needed = leading.witnesses_needed and not in_time
        leading.agreed_next, leading.agreed_since_ms = log.last_index, node.now_ms
    elif not in_time:
        leading.witnesses_needed = True
    return safe if leading.witnesses_needed else agreed


def _can_do_without(membership: Membership) -> bool:
    return all(
        len(half - membership.witnesses) >= quorum.majority(len(half))
        for half in quorum.halves(membership)
    )
