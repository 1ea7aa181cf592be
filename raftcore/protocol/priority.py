"""Who should lead where several could: preference among equals, and never a condition for safety.

The leader learns of everybody's priority with their answers, and tells each follower how many
voters that are here come before it; that one then lets as many election timeouts more go by before
it campaigns.  So the most preferred of those that are left stands first, and one that is down
delays nobody for longer than its last answer counts.

A leader that is not the most preferred hands over (thesis §3.10): not before it has led for a
while, only to one that has the log, and each time that nothing comes of it it waits twice as long,
whatever terms there are in between: one that can be reached by few takes the term with it and does
not win the next.

With priority 0 a node stands back and lets others lead, but not for ever: it may hold the longest
log of those that are left, so that nobody can win its vote, or be the only one that is left to
stand.  So when it has seen no leader for several election timeouts it stands as anybody does, and
hands over to the first that has caught up.
"""

from __future__ import annotations

from raftcore.config import Config
from raftcore.protocol import transfer
from raftcore.state import Leading, Node
from raftcore.types import NodeId

AHEAD_MAX = 2
"""Election timeouts that a node lets others go first, at most."""
STANDS_BACK_TIMEOUTS = 4
"""Election timeouts without a leader that a node of priority 0 lets pass before it stands."""
_LEADS_FIRST_TIMEOUTS = 4
"""Election timeouts that a leader leads before it hands over, and before it first tries again."""
_DOUBLINGS_MAX = 6


def ahead(node: Node, leading: Leading) -> dict[NodeId, int]:
    """By voter, how many others come before it; who is missing has nobody to wait for."""
    here = {
        member: progress.priority
        for member, progress in leading.progress.items()
        if _could_lead(node, member) and progress.in_contact(node.now_ms, node.config)
    }
    if len(set(here.values())) < 2:
        return {}
    return {
        member: min(sum(other > priority for other in here.values()), AHEAD_MAX)
        for member, priority in here.items()
    }


def stands_back(node: Node) -> bool:
    """Whether this node leaves it to others to stand, once more."""
    if node.config.priority > 0 or not node.other_voters:
        return False
    return node.stood_back < STANDS_BACK_TIMEOUTS


def waiting_ms(config: Config, others_ahead: int) -> int:
    """How much longer than others a follower waits for a leader."""
    return min(others_ahead, AHEAD_MAX) * config.election_timeout_ms


def on_timer(node: Node, leading: Leading) -> None:
    """Hand over to a voter that should rather lead."""
    wait_ms = node.config.election_timeout_ms * _LEADS_FIRST_TIMEOUTS
    if leading.transfer is not None or node.now_ms - leading.offered_ms < wait_ms:
        return
    heirs = [
        (-progress.priority, -progress.match_index, member)
        for member, progress in leading.progress.items()
        if progress.priority > node.config.priority
        and _could_lead(node, member)
        and progress.caught_up(node.now_ms, node.config)
        and _waited(node, leading, member, wait_ms)
    ]
    if heirs:
        heir = min(heirs)[2]
        offers, _ = node.offers.get(heir, (0, 0))
        node.offers[heir] = (min(offers + 1, _DOUBLINGS_MAX), node.now_ms)
        leading.offered_ms = node.now_ms
        transfer.start(node, heir)


def _waited(node: Node, leading: Leading, heir: NodeId, wait_ms: int) -> bool:
    offers, offered_ms = node.offers.get(heir, (0, leading.since_ms))
    return node.now_ms - max(offered_ms, leading.since_ms) >= wait_ms << offers


def _could_lead(node: Node, member: NodeId) -> bool:
    membership = node.membership
    return member in membership.voters and member not in membership.witnesses
