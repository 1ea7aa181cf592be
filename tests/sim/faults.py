"""What goes wrong, and how it ends."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from itertools import combinations, permutations

from raftcore import NotLeader, TransferRefused
from tests.sim.churn import survivable
from tests.sim.machine import Machine
from tests.sim.plan import ELECTION_TIMEOUT_MS, MS
from tests.sim.world import Link, World
from tests.sim.writer import FOR_EVER_US

LONG_US = 8 * ELECTION_TIMEOUT_MS * MS


class Faults:
    """Strikes at random moments with the faults that the plan has on, until told to stop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.active = True
        self._actions = {
            "crash": self._crash,
            "crash all": self._crash_all,
            "pause": self._pause,
            "disk stall": self._stall,
            "split": self._split,
            "isolate": self._isolate,
            "isolate leader": self._isolate_leader,
            "one way": self._one_way,
            "cut link": self._cut_link,
            "transfer": self._transfer,
            "freeze": self._freeze,
            "failed sync": self._failed_sync,
            "full disk": self._full_disk,
            "bit flip": self._flip_bit,
            "bit flip in a snapshot": self._flip_snapshot_bit,
        }
        if world.plan.faults:
            world.after(0, self._strike, None)
        world.before_sending = self._before_sending

    def stop(self) -> None:
        """No more faults, and those that are there end; the network behaves from now on."""
        self.active = False
        world = self.world
        world.note("all faults end")
        world.quiet = True
        for links in list(world.cuts):
            world.heal(links)
        for machine in world.machines.values():
            machine.writer.end_stall()
            machine.disk.error = None
            if (machine.disk.damaged or machine.shelf.damaged) and machine.up:
                # What lies there must be noticed, at the next start at the latest.
                machine.crash()
            self._restart(machine)
            self._resume(machine)

    def _strike(self, _: None) -> None:
        if not self.active:
            return
        world = self.world
        world.after(world.rng.randrange(2 * world.plan.fault_every_us), self._strike, None)
        fault = world.rng.choice(world.plan.faults)
        world.coverage[fault] += 1
        self._actions[fault]()

    def _duration_us(self) -> int:
        rng = self.world.rng
        return rng.randrange(rng.choice((LONG_US // 20, LONG_US // 4, LONG_US)))

    def _some(self) -> Machine:
        rng = self.world.rng
        leaders = self.world.leaders()
        if leaders and rng.random() < 0.4:
            return rng.choice(leaders)
        return rng.choice(list(self.world.machines.values()))

    # ------------------------------------------------------------------ machines

    def _crash(self) -> None:
        self._crash_one(self._some())

    def _crash_all(self) -> None:
        for machine in self.world.machines.values():
            self._crash_one(machine)

    def _crash_one(self, machine: Machine) -> None:
        if machine.up:
            self.world.note(f"{machine.id} crashes")
            machine.crash()
            self.world.after(self._duration_us(), self._restart, machine)

    def _restart(self, machine: Machine) -> None:
        if not machine.up and not machine.lost:
            self.world.note(f"{machine.id} starts")
            machine.start()

    def _pause(self) -> None:
        machine = self._some()
        if machine.up and not machine.paused:
            self.world.note(f"{machine.id} pauses")
            machine.pause()
            self.world.after(self._duration_us(), self._resume, machine)

    def _freeze(self) -> None:
        machine = self._some()
        if machine.up and not machine.paused:
            self.world.note(f"{machine.id} is suspended, clock and all")
            machine.pause(frozen=True)
            self.world.after(self._duration_us(), self._resume, machine)

    def _resume(self, machine: Machine) -> None:
        if machine.up and machine.paused:
            self.world.note(f"{machine.id} goes on")
            machine.resume()

    def _stall(self) -> None:
        machine = self._some()
        if machine.up:
            until_us = self.world.now_us + self._duration_us()
            self.world.note(f"{machine.id}: disk stalls until", until_us)
            machine.writer.stall(until_us)

    def _failed_sync(self) -> None:
        self._break_disk(errno.EIO, "the next sync fails")

    def _full_disk(self) -> None:
        self._break_disk(errno.ENOSPC, "the disk is full")

    def _break_disk(self, number: int, what: str) -> None:
        machine = self._some()
        if machine.disk.error is None:
            self.world.note(f"{machine.id}: {what}")
            machine.disk.error = OSError(number, what)
            self.world.after(self._duration_us(), self._repair_disk, machine)

    def _repair_disk(self, machine: Machine) -> None:
        machine.disk.error = None

    def _flip_bit(self) -> None:
        machine = self._some()
        if machine.disk.damaged or not self._may_lose(machine):
            return
        if machine.disk.flip_bit(self.world.rng):
            self.world.note(f"{machine.id}: a bit flips")
            self.world.coverage["bit flipped"] += 1

    def _flip_snapshot_bit(self) -> None:
        rng, machines = self.world.rng, self.world.machines.values()
        receiving = [one for one in machines if one.shelf.unfinished is not None]
        machine = rng.choice(receiving or self.world.leaders() or [self._some()])
        if rng.random() < 0.2:
            machine = self._some()
        self._flip_in(machine)

    def _before_sending(self, machine: Machine) -> None:
        """Somebody is about to open its newest snapshot, to send it."""
        world = self.world
        if not self.active or "bit flip in a snapshot" not in world.plan.faults:
            return
        if world.rng.random() < 0.2:
            self._flip_in(machine)

    def _flip_in(self, machine: Machine) -> None:
        if self._may_lose(machine) and machine.shelf.flip_bit(self.world.rng):
            self.world.note(f"{machine.id}: a bit of a snapshot flips")
            self.world.coverage["bit of a snapshot flipped"] += 1

    def _may_lose(self, machine: Machine) -> bool:
        """Whether a majority has what was acknowledged without it, whichever membership is in
        force."""
        machines = self.world.machines.values()
        damaged = {one.id for one in machines if one.damaged} | {machine.id}
        return all(survivable(one.core.membership, damaged) for one in machines)

    # ------------------------------------------------------------------ links

    def _cut(self, links: Iterable[Link]) -> None:
        cut = frozenset(links)
        self.world.note("links are cut", sorted(cut))
        self.world.cut(cut)
        self.world.after(self._duration_us(), self.world.heal, cut)

    def _split(self) -> None:
        names = list(self.world.machines)
        one = set(self.world.rng.sample(names, self.world.rng.randint(0, len(names))))
        self._cut(link for link in permutations(names, 2) if (link[0] in one) != (link[1] in one))

    def _isolate(self) -> None:
        self._cut(links_of(self.world, [self._some().id]))

    def _isolate_leader(self) -> None:
        self._cut(links_of(self.world, [leader.id for leader in self.world.leaders()]))

    def _one_way(self) -> None:
        incoming = self.world.rng.random() < 0.5
        self._cut(links_of(self.world, [self._some().id], incoming=incoming, outgoing=not incoming))

    def _cut_link(self) -> None:
        names = list(self.world.machines)
        if len(names) > 1:
            one, other = self.world.rng.sample(names, 2)
            self._cut([(one, other), (other, one)])

    # ------------------------------------------------------------------ leadership

    def _transfer(self) -> None:
        world = self.world
        machine = self._some()
        if machine.up and not machine.paused:
            self._hand_over(machine, world.rng.choice((None, *world.machines)))

    def _hand_over(self, machine: Machine, to: str | None) -> None:
        world = self.world

        def ask(now_ms: int) -> None:
            try:
                machine.core.transfer_leadership(to, now_ms)
                world.coverage["transfer begun"] += 1
                world.note(f"{machine.id} hands over to", to)
            except (NotLeader, TransferRefused):
                world.coverage["transfer refused"] += 1

        machine.input(ask)

    # ------------------------------------------------------------------ what remains

    def duel(self) -> None:
        """Let a leader go on alone while the others choose another; then everybody loses office."""
        world = self.world
        leaders = world.leaders()
        world.clients.know_only = world.rng.choice(leaders) if leaders else None
        world.cut(frozenset(links_of(world, [leader.id for leader in leaders])))
        world.run_until(world.now_us + 4 * ELECTION_TIMEOUT_MS * MS)
        world.clients.know_only = None
        self._crash_all()

    def leave(self, trouble: str) -> None:
        """Break what the cluster must be able to do without."""
        world = self.world
        voters = sorted(world.membership.voters)
        ruined = [name for name in voters if world.machines[name].lost]
        names = [name for name in voters if name not in ruined]
        size = (len(voters) - 1) // 2 - len(ruined)
        if (ruined or len(names) < 3) and trouble == "link cut":
            # With few machines, a cut between two of a bare majority may leave nobody able to lead.
            trouble = "none"
        minority = world.rng.sample(names, size)
        if world.plan.duel or world.rng.random() < 0.5:
            minority = self._worst(size) or minority
        if minority and world.rng.random() < 0.3:
            for leader in world.leaders():
                self._hand_over(leader, world.rng.choice(minority))
        world.note(f"what remains is {trouble}", minority)
        world.coverage[f"served with trouble: {trouble}"] += 1
        self._break(trouble, minority)

    def _break(self, trouble: str, minority: list[str]) -> None:
        world = self.world
        match trouble:
            case "minority down":
                for name in minority:
                    world.machines[name].crash()
            case "minority disk stuck":
                for name in minority:
                    world.machines[name].writer.stall(FOR_EVER_US)
            case "minority isolated":
                world.cut(frozenset(links_of(world, minority)))
            case "minority deaf":
                world.cut(frozenset(links_of(world, minority, outgoing=False)))
            case "minority mute":
                world.cut(frozenset(links_of(world, minority, incoming=False)))
            case "link cut":
                one, other = world.rng.sample(sorted(world.membership.voters), 2)
                world.cut(frozenset({(one, other), (other, one)}))

    def _worst(self, size: int) -> list[str] | None:
        """Whom to take away so that, of those that stay, one has the later and another the longer log."""
        machines = self.world.machines
        ends = {
            name: (machine.handed_out[-1].term, len(machine.handed_out))
            for name, machine in machines.items()
            if name in self.world.membership.voters and machine.up and machine.handed_out
        }
        choices = [
            list(minority)
            for minority in combinations(ends, size)
            if any(
                ends[one][0] < ends[other][0] and ends[one][1] > ends[other][1]
                for one, other in permutations(set(ends) - set(minority), 2)
            )
        ]
        if not choices:
            return None
        self.world.coverage["longest log is not the latest"] += 1
        return self.world.rng.choice(choices)


def links_of(
    world: World, names: Iterable[str], *, incoming: bool = True, outgoing: bool = True
) -> list[Link]:
    """The links to and from some machines."""
    chosen = set(names)
    return [
        (sender, to)
        for sender, to in permutations(world.machines, 2)
        if (outgoing and sender in chosen) or (incoming and to in chosen)
    ]
