"""Changes of membership: what may be asked for, and which membership comes of it.

Pure functions of a membership; `reconfiguration` says when a leader may use them.  One change of
voters at a time needs no joint configuration, since any majority of the old voters then shares a
node with any majority of the new ones (thesis §4.1); several at once need one (paper §6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from raftcore import quorum
from raftcore.errors import ChangeRefused
from raftcore.types import Membership, NodeId, is_node_id


@dataclass(frozen=True, slots=True)
class AddLearner:
    """Let a new node in, to be brought up to date (thesis §4.2.1)."""

    id: NodeId
    witness: bool = False
    """It will keep no data, neither as learner nor as voter."""


@dataclass(frozen=True, slots=True)
class AddVoter:
    """Make a learner that has caught up a voter.

    A node that is no learner yet is refused: until it had the whole log, the cluster could fail to
    commit for want of it (thesis §4.2.1).
    """

    id: NodeId
    witness: bool = False
    """What the learner must have been added as."""


@dataclass(frozen=True, slots=True)
class Promote:
    """Make a learner that has caught up a voter, whether witness or not."""

    id: NodeId


@dataclass(frozen=True, slots=True)
class Demote:
    """Make a voter a learner."""

    id: NodeId


@dataclass(frozen=True, slots=True)
class Remove:
    """Let a member go.  Its id is never used again: a machine that comes back is a new member."""

    id: NodeId


Change = AddLearner | AddVoter | Promote | Demote | Remove


class JointMode(Enum):
    """Whether a change goes by way of a joint configuration, and who ends that."""

    AUTO = 1
    """Only where several voters change; the leader leaves it by itself."""
    ALWAYS = 2
    """In any case; the leader leaves it by itself."""
    EXPLICIT = 3
    """In any case, until `RaftCore.leave_joint`."""


def changed(
    membership: Membership,
    changes: Sequence[Change],
    mode: JointMode,
    caught_up: Callable[[NodeId], bool],
) -> Membership:
    """The membership to append; of one that is not joint.  Raises `ChangeRefused`."""
    _check_named(changes)
    target = membership
    for change in changes:
        target = _with(target, change, caught_up)
    _check_voters(target)
    altered = membership.voters ^ target.voters
    if mode is JointMode.AUTO and len(altered) <= 1:
        return target
    return replace(
        target,
        learners=target.learners - membership.voters,
        voters_outgoing=membership.voters,
        learners_next=target.learners & membership.voters,
        witnesses=target.witnesses | (membership.witnesses & membership.voters),
        auto_leave=mode is not JointMode.EXPLICIT,
        removed=target.removed - membership.voters,
    )


def _check_named(changes: Sequence[Change]) -> None:
    if not changes:
        raise ChangeRefused("no change", "No change was asked for; name at least one.")
    for change in changes:
        if not isinstance(change, Change):
            raise TypeError(f"{change!r} is no change of a membership.")
        if not is_node_id(change.id):
            raise ChangeRefused(
                "bad id", f"{change.id!r} is no node id: take a text of 1 to 255 characters."
            )
    ids = [change.id for change in changes]
    for name in ids:
        if ids.count(name) > 1:
            raise ChangeRefused(
                "duplicate", f"{name!r} is named by more than one change; name it once."
            )


def left(membership: Membership) -> Membership:
    """What comes after a joint configuration."""
    gone = membership.voters_outgoing - membership.voters - membership.learners_next
    return Membership(
        voters=membership.voters,
        learners=membership.learners | membership.learners_next,
        witnesses=membership.witnesses - gone,
        removed=membership.removed | gone,
    )


def _with(
    membership: Membership, change: Change, caught_up: Callable[[NodeId], bool]
) -> Membership:
    name, one = change.id, frozenset({change.id})
    voters, learners, witnesses = membership.voters, membership.learners, membership.witnesses
    match change:
        case AddLearner():
            _check_new(membership, name)
            witnesses |= one if change.witness else frozenset()
            return replace(membership, learners=learners | one, witnesses=witnesses)
        case AddVoter() | Promote():
            _check_learner(membership, change, caught_up)
            return replace(membership, voters=voters | one, learners=learners - one)
        case Demote():
            if name not in voters:
                raise ChangeRefused(
                    "unknown", f"{name!r} is not a voter of this cluster; name one."
                )
            return replace(membership, voters=voters - one, learners=learners | one)
    _check_known(membership, name)
    return replace(
        membership,
        voters=voters - one,
        learners=learners - one,
        witnesses=witnesses - one,
        removed=membership.removed | one,
    )


def _check_new(membership: Membership, name: NodeId) -> None:
    if name in membership.members:
        raise ChangeRefused("known", f"{name!r} is a member already; there is nothing to do.")
    if name in membership.removed:
        raise ChangeRefused(
            "removed",
            f"{name!r} was a member of this cluster and was removed. A machine that comes back "
            "does so with a new node id and empty files.",
        )


def _check_known(membership: Membership, name: NodeId) -> None:
    if name not in membership.members:
        raise ChangeRefused("unknown", f"{name!r} is not a member of this cluster; name one.")


def _check_learner(
    membership: Membership, change: AddVoter | Promote, caught_up: Callable[[NodeId], bool]
) -> None:
    name = change.id
    if name in membership.voters:
        raise ChangeRefused("known", f"{name!r} is a voter already; there is nothing to do.")
    if name in membership.removed:
        _check_new(membership, name)
    if isinstance(change, Promote):
        _check_known(membership, name)
    elif name in membership.learners and change.witness is not (name in membership.witnesses):
        kind = "a witness" if name in membership.witnesses else "no witness"
        raise ChangeRefused(
            "witnesses", f"{name!r} was added as {kind} and stays that; ask for that."
        )
    if name not in membership.learners or not caught_up(name):
        raise ChangeRefused(
            "not caught up",
            f"{name!r} does not have the log yet. Add it as a learner, and make it a voter once "
            "it has caught up.",
        )


def _check_voters(target: Membership) -> None:
    if not target.voters:
        raise ChangeRefused(
            "no voters", "Nobody would be left to vote; make somebody else a voter first."
        )
    witnesses = target.voters & target.witnesses
    if len(witnesses) >= quorum.majority(len(target.voters)):
        raise ChangeRefused(
            "witnesses",
            "Witnesses would be a majority of the voters, and what they agreed upon be known to "
            "nobody: have more voters with data than witnesses.",
        )
