"""One seed from beginning to end."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from raftcore import EntryKind
from raftcore.trace import encode
from tests.sim.faults import Faults
from tests.sim.kv import number_of
from tests.sim.plan import ELECTION_TIMEOUT_MS, MS, draw
from tests.sim.violation import Violation, is_quorum
from tests.sim.world import TRACE_LENGTH, World

SERVE_WITHIN_US = 30 * ELECTION_TIMEOUT_MS * MS
"""How long a cluster may take to serve again once a majority works."""
COMMANDS_SERVED = 3
RECORDED_EVERY = 48
"""Seeds; a run that is recorded takes some ten times as long."""
EVENTS_MAX = 400_000
"""Some forty times what a run takes: nodes that keep each other busy for nothing are caught."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run was."""

    seed: int
    digest: int
    events: int
    entries: int
    coverage: Counter[str]
    serving_after_us: int
    equal_after_us: int
    trace: int
    """Of everything that happened: every message that arrived, with all that stood in it."""


class SimulationFailed(Exception):
    """A seed under which a promise is broken."""

    def __init__(self, seed: int, world: World, cause: BaseException) -> None:
        self.seed = seed
        self.world = world
        self.cause = cause
        super().__init__(
            f"Seed {seed} fails after {world.now_us / 1e6:.3f} simulated seconds, at event "
            f"{world.events}: {type(cause).__name__}: {cause}\n"
            f"Replay: {replay_line(seed)}"
        )


def replay_line(seed: int) -> str:
    return f"python -m tests.sim 1 --first {seed} --trace"


def run(
    seed: int, *, trace_length: int = TRACE_LENGTH, recorded: frozenset[str] | None = None
) -> Result:
    """Run a seed; raises `SimulationFailed`.

    The traces of the nodes that are recorded are run again; of a few seeds one's is, if not told.
    """
    rng = random.Random(seed)
    plan = draw(rng)
    if recorded is None:
        chosen = plan.voters[seed // RECORDED_EVERY % len(plan.voters)]
        recorded = frozenset([chosen] if seed % RECORDED_EVERY == 0 else ())
    world = World(seed, plan, rng, trace_length=trace_length, recorded=recorded)
    try:
        serving_us, equal_us = _story(world)
        world.end()
    except Exception as error:
        raise SimulationFailed(seed, world, error) from error
    finally:
        world.close()
    if len(plan.voters) == 1:
        world.coverage["cluster of one"] += 1
    return Result(
        seed,
        world.digest,
        world.events,
        len(world.oracle.committed),
        world.coverage,
        serving_us,
        equal_us,
        zlib.crc32("".join(map(_text, world.trace)).encode()),
    )


def _text(event: tuple[int, str, object]) -> str:
    """The same in every process, which the order in a set is not."""
    text = repr(event)
    return repr(encode(event)) if "frozenset" in text else text


def _story(world: World) -> tuple[int, int]:
    """Faults; then they end, and what the cluster owes falls due."""
    plan = world.plan
    world.events_max = EVENTS_MAX
    faults = Faults(world)
    world.run_until(plan.fault_time_us)
    faults.stop()
    world.churn.stop()
    _wait(world, world.churn.settled, "settle its membership")
    world.membership = world.churn.in_force
    trouble = plan.remaining_trouble
    if plan.duel:
        _wait(world, _serves(world), "serve before the duel")
        faults.duel()
        faults.stop()
        trouble = "minority down"
    if world.membership.witnesses:
        # With a witness, failures must be apart: after one, the others need time to agree again.
        world.run_until(world.now_us + 10 * ELECTION_TIMEOUT_MS * MS)
        world.coverage["served with a witness"] += 1
    faults.leave(trouble)
    serving_us = _wait(world, _serves(world), "serve again")
    faults.stop()
    _wait(world, _serves(world), "serve with all nodes")
    world.clients_active = False
    equal_us = 0
    while not _equal(world):
        # With windows of one entry a new member may take long; it has to get on all the same.
        equal_us += _wait(world, _gets_on(world), "get equal")
    world.clients.judge()
    return serving_us, equal_us


def _gets_on(world: World) -> Callable[[], bool]:
    """Whether something has been applied since."""
    before = _applied(world)
    return lambda: _equal(world) or _applied(world) > before


def _wait(world: World, reached: Callable[[], bool], what: str) -> int:
    start_us = world.now_us
    while not reached():
        if world.now_us > start_us + SERVE_WITHIN_US:
            raise Violation(f"Liveness: the cluster does not {what}: {_state(world)}")
        world.run_until(world.now_us + 5 * MS)
    return world.now_us - start_us


def _serves(world: World) -> Callable[[], bool]:
    """Whether commands proposed from now on were committed, and a majority has applied them."""
    committed = world.oracle.committed
    seen = len(committed)
    known = world.clients.proposed
    new: list[int] = []

    def served() -> bool:
        nonlocal seen
        while seen < len(committed) and len(new) < COMMANDS_SERVED:
            entry = committed[seen]
            seen += 1
            if entry.kind is EntryKind.COMMAND and number_of(entry) > known:
                new.append(entry.index)
        if len(new) < COMMANDS_SERVED:
            return False
        have = [m.id for m in world.machines.values() if m.up and m.state.index >= new[-1]]
        return is_quorum(world.membership, have)

    return served


def _applied(world: World) -> int:
    return sum(machine.state.index for machine in world.machines.values())


def _equal(world: World) -> bool:
    """Whether all nodes have applied all that is committed; what it is has been checked."""
    members = [world.machines[name] for name in sorted(world.membership.members)]
    machines = [machine for machine in members if not machine.lost]
    committed = len(world.oracle.committed)
    return all(machine.state.index == committed for machine in machines)


def _state(world: World) -> str:
    return "; ".join(
        f"{m.id} {m.core.role.name} term {m.core.current_term} leader {m.core.leader} commit "
        f"{m.core.commit_index} last {m.core.last_index} applied {m.state.index}"
        if m.up
        else f"{m.id} down"
        for m in world.machines.values()
    )
