"""Operators who change the membership while everything else goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from raftcore import (
    AddLearner,
    Change,
    ChangeRefused,
    Demote,
    JointMode,
    Membership,
    NotLeader,
    Promote,
    Remove,
    Role,
)
from tests.sim.violation import is_quorum

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.world import World

MACHINES_MAX = 12
"""Ever, in one run: ids are never used again."""


def survivable(membership: Membership, damaged: set[str]) -> bool:
    """Whether a majority of each half is left, and what it knows, without the damaged."""
    halves = (membership.voters, membership.voters_outgoing)
    return all(2 * len(half - damaged) > len(half) for half in halves if half)


class Churn:
    """Asks for changes at random moments, until told to stop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.active = world.plan.churn_every_us > 0
        self.in_force = world.plan.membership
        self.told_removed: set[str] = set()
        if self.active:
            world.after(0, self._act, None)

    def stop(self) -> None:
        """No more changes; what was begun is brought to its end."""
        self.active = False

    def settled(self) -> bool:
        """Whether the leader's membership is committed and no joint one; helps it along."""
        leaders = self.world.leaders()
        if not leaders:
            return False
        newest = max(leaders, key=lambda machine: machine.core.current_term)
        core = newest.core
        if core.membership.joint and not core.membership.auto_leave:
            self._leave_joint(newest)
        if core.membership.joint or core.membership_index > core.commit_index:
            return False
        self.in_force = core.membership
        if newest.id not in core.membership.voters or not self._alone(newest):
            return False
        # Nor may anybody go by one that came to nothing: were it the only one with a log that can
        # win, it would need majorities that the others know nothing of.
        return all(
            machine.core.membership_index <= machine.core.commit_index
            for machine in map(self.world.machines.__getitem__, sorted(core.membership.voters))
            if machine.up
        )

    def _alone(self, leader: Machine) -> bool:
        """Whether a majority follows this leader: nobody else's membership can be in force."""
        machines = self.world.machines.values()
        term = leader.core.current_term
        return is_quorum(
            self.in_force,
            [
                m.id
                for m in machines
                if m.up and m.core.leader == leader.id and m.core.current_term == term
            ],
        )

    def _act(self, _: None) -> None:
        world, rng = self.world, self.world.rng
        if not self.active:
            return
        world.after(1 + rng.randrange(2 * world.plan.churn_every_us), self._act, None)
        self._retire()
        up = [m for m in world.machines.values() if m.up and not m.paused]
        machine = rng.choice([m for m in up if m.core.role is Role.LEADER] or up or [None])
        if machine is None:
            return
        if machine.core.membership.joint and not machine.core.membership.auto_leave:
            self._leave_joint(machine)
            return
        wanted = self._draw(machine)
        if wanted:
            self._change(machine, wanted)

    def _retire(self) -> None:
        """Switch off some of those who know that they were removed."""
        for machine in self.world.machines.values():
            if machine.up and machine.core.removed:
                if machine.id not in self.told_removed:
                    self.told_removed.add(machine.id)
                    self.world.coverage["removed node knows"] += 1
                if self.world.rng.random() < 0.2:
                    machine.crash()
                    machine.retired = True

    def _draw(self, machine: Machine) -> list[Change]:
        """One change or several; mostly such as can be granted."""
        rng, membership = self.world.rng, machine.core.membership
        voters, learners = sorted(membership.voters), sorted(membership.learners)
        changes: list[Change] = []
        if machine.sending.transfers and rng.random() < 0.3:
            changes = self._removal_of_receiver(machine)
        for _ in range(0 if changes else rng.choice((1, 1, 1, 2, 3))):
            kind = rng.random()
            if kind < 0.3 and len(membership.members) < 7:
                if len(self.world.machines) < MACHINES_MAX:
                    witness = self.world.plan.witnesses and rng.random() < 0.4
                    name = self.world.add_machine(witness=witness).id
                    changes.append(AddLearner(name, witness))
            elif kind < 0.65 and learners:
                changes.append(Promote(rng.choice(learners)))
            elif kind < 0.75 and len(voters) > 1:
                changes.append(Demote(rng.choice(voters)))
            elif len(voters) > 2 or learners:
                changes.append(Remove(rng.choice(voters if len(voters) > 2 else learners)))
        after = set(voters)
        for change in changes:
            if isinstance(change, Promote):
                after.add(change.id)
            else:
                after.discard(change.id)
        damaged = {one.id for one in self.world.machines.values() if one.damaged}
        return changes if survivable(Membership(frozenset(after)), damaged) else []

    def _removal_of_receiver(self, leader: Machine) -> list[Change]:
        """Remove one that is just being sent a snapshot."""
        membership, receiver = leader.core.membership, next(iter(leader.sending.transfers))
        spared = receiver in membership.voters and len(membership.voters) < 3
        return [] if spared or receiver not in membership.members else [Remove(receiver)]

    def _change(self, machine: Machine, wanted: Sequence[Change]) -> None:
        rng = self.world.rng
        mode = rng.choice(list(JointMode))
        based_on = rng.choice((None, None, machine.core.membership_index, 1))
        self._ask(
            machine,
            lambda now_ms: machine.core.change_membership(
                wanted, now_ms, based_on=based_on, joint=mode
            ),
            f"change {wanted} {mode.name}",
        )

    def _leave_joint(self, machine: Machine) -> None:
        self._ask(machine, machine.core.leave_joint, "leave joint")

    def _ask(self, machine: Machine, what: Callable[[int], object], text: str) -> None:
        coverage = self.world.coverage

        def step(now_ms: int) -> None:
            try:
                place = what(now_ms)
            except NotLeader:
                coverage["change refused: not the leader"] += 1
            except ChangeRefused as refusal:
                coverage[f"change refused: {refusal.reason}"] += 1
            else:
                coverage["change begun"] += 1
                self.world.note(f"{machine.id}: {text}", place)

        machine.input(step)
