"""What a majority is, and nothing else.

While a joint configuration is in force, agreement needs separate majorities of both halves
(paper §6).  Learners never count.  Everything is computed afresh from what the caller shows: a
quorum that is remembered can be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from raftcore.types import Membership, NodeId


class VoteResult(Enum):
    """How an election stands."""

    PENDING = 1
    WON = 2
    LOST = 3


def is_voter(membership: Membership, node_id: NodeId) -> bool:
    """Whether this node's voice counts, in either half."""
    return node_id in membership.voters or node_id in membership.voters_outgoing


def voters(membership: Membership) -> frozenset[NodeId]:
    """Everybody whose voice counts."""
    return membership.voters | membership.voters_outgoing


def halves(membership: Membership) -> list[frozenset[NodeId]]:
    """The voters of each majority that is needed: two in a joint configuration."""
    return [half for half in (membership.voters, membership.voters_outgoing) if half]


def majority(size: int) -> int:
    """How many of so many are more than half."""
    return size // 2 + 1


def reached(membership: Membership, value_of: Callable[[NodeId], int]) -> int:
    """The greatest value that a quorum has reached: of match indexes, the index they all hold."""
    return min(_majority_value(map(value_of, half)) for half in halves(membership))


def vote_result(membership: Membership, votes: Mapping[NodeId, bool]) -> VoteResult:
    """How the election stands with these votes, one per voter."""
    results = [_half_result(half, votes) for half in halves(membership)]
    if VoteResult.LOST in results:
        return VoteResult.LOST
    if VoteResult.PENDING in results:
        return VoteResult.PENDING
    return VoteResult.WON


def _majority_value(values: Iterable[int]) -> int:
    # In falling order, a majority has reached what stands in the middle or just behind it.
    ordered = sorted(values, reverse=True)
    return ordered[len(ordered) // 2]


def _half_result(half: frozenset[NodeId], votes: Mapping[NodeId, bool]) -> VoteResult:
    needed = majority(len(half))
    granted = sum(votes.get(voter) is True for voter in half)
    refused = sum(votes.get(voter) is False for voter in half)
    if granted >= needed:
        return VoteResult.WON
    return VoteResult.LOST if refused > len(half) - needed else VoteResult.PENDING
