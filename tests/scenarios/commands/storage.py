"""Proposing, reading, writing to disks, crashing."""

from __future__ import annotations

from raftcore import RaftCore
from tests.scenarios.commands.language import ask, command, last_number, number, one, options
from tests.scenarios.world import ScenarioError, World


@command
def propose(world: World, arguments: list[str]) -> None:
    """propose n1 x [y z] [bytes=1000]

    Propose these commands at once; with `bytes`, each is filled up to that size.
    """
    (name, *commands), pairs = options(arguments, {"bytes"})
    size = number(pairs.get("bytes", "0"))
    world[name]

    def action(core: RaftCore, now_ms: int) -> None:
        for text in commands:
            core.propose(text.encode().ljust(size, b"."), now_ms)

    ask(world, name, action)


@command
def read(world: World, arguments: list[str]) -> None:
    """read n1 [3]

    Ask n1 for a linearizable read, or for several at once; they are numbered per node.
    """
    named, count = last_number(arguments)
    name = one(world, named)

    def action(core: RaftCore, now_ms: int) -> None:
        for _ in range(count or 1):
            core.read_index(now_ms)

    ask(world, name, action)


@command
def disk(world: World, arguments: list[str]) -> None:
    """disk n1 slow|fast

    A slow disk writes when told by `write`; it becomes fast once all is written.
    """
    if len(arguments) != 2 or arguments[1] not in ("slow", "fast"):
        raise ScenarioError("disk <node> slow|fast")
    machine = world.up(arguments[0])
    machine.slow_disk = arguments[1] == "slow"
    machine.write(len(machine.unwritten) if arguments[1] == "fast" else 0)


@command
def write(world: World, arguments: list[str]) -> None:
    """write n1 [2]

    Make this many of its writes durable, or all that it has begun.
    """
    named, count = last_number(arguments)
    machine = world.up(one(world, named))
    waiting = len(machine.unwritten)
    if not waiting:
        raise ScenarioError(f"{machine.name} has nothing to write")
    machine.write(min(count or waiting, waiting))


@command
def crash(world: World, arguments: list[str]) -> None:
    """crash n1

    Stop it: what is not on its disk is gone.
    """
    world.up(one(world, arguments)).crash()


@command
def restart(world: World, arguments: list[str]) -> None:
    """restart n1

    Start it from its disk, after a crash of now if it has not crashed before.
    """
    machine = world[one(world, arguments)]
    machine.crash()
    machine.start()


@command
def lose(world: World, arguments: list[str]) -> None:
    """lose n1 5

    Stop it and let its disk forget the entries from here on, and its state machine what came of
    them: as if an older copy had been put back.
    """
    named, first = last_number(arguments)
    machine = world[one(world, named)]
    begins = machine.disk.first_index
    if first is None or not begins <= first <= machine.disk.last_index:
        raise ScenarioError("lose <node> <the first entry to be lost>")
    machine.crash()
    del machine.disk._entries[first - begins :]
    del machine.applied[first - 1 :]
