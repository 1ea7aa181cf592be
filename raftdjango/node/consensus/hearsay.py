"""What a node knows of the other members by its leader's word.

Only a leader hears from everybody.  About once a second it tells the others what it knows, so that
people may ask any node.  Nothing in the protocol reads it; what is lost is told anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftdjango.node.peers.peer_pb2 import MemberFact, MemberFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftcore import Status


def facts_of(status: Status) -> MemberFacts:
    """What a leader knows of the members."""
    facts = MemberFacts(term=status.term, last_index=status.last_index)
    for member in status.members:
        # Its own entries count before its disk has them: the leader is behind nobody.
        me = member.id == status.node_id
        match_index = status.last_index if me else member.match_index
        facts.members.append(
            MemberFact(
                id=member.id, match_index=match_index, last_contact_ms=member.last_contact_ms
            )
        )
    return facts


def tell_members(status: Status, send: Callable[[str, MemberFacts], None]) -> None:
    """A leader tells everybody else."""
    facts = facts_of(status)
    for member in status.members:
        if member.id != status.node_id:
            send(member.id, facts)


class Hearsay:
    """The latest that a leader has told."""

    def __init__(self) -> None:
        self._leader = ""
        self._facts = MemberFacts()
        self._heard_ms = 0

    def hear(self, leader: str, facts: MemberFacts, now_ms: int) -> None:
        """`leader` says so; a deposed one's word may come late and does not count."""
        if facts.term >= self._facts.term:
            self._leader, self._facts, self._heard_ms = leader, facts, now_ms

    def under(self, status: Status, now_ms: int) -> tuple[MemberFacts, int] | None:
        """What the present leader says, and how many milliseconds ago; its own word if this node leads."""
        if status.leader == status.node_id:
            return facts_of(status), 0
        if (self._leader, self._facts.term) == (status.leader, status.term):
            return self._facts, now_ms - self._heard_ms
        return None
