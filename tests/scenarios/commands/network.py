"""Delivering, losing and looking at messages."""

from __future__ import annotations

from collections.abc import Callable

from tests.scenarios import words
from tests.scenarios.commands.language import command, last_number, some
from tests.scenarios.world import ScenarioError, Transit, World


def _fitting(world: World, arguments: list[str]) -> tuple[Callable[[Transit], bool], int | None]:
    kinds, count = last_number(arguments)
    arrows = [word for word in kinds if "->" in word]
    kinds = [word for word in kinds if "->" not in word]
    if len(arrows) > 1 or len(kinds) > 1:
        raise ScenarioError("at most one arrow, one kind of message and one number")
    sender, to = arrows[0].split("->") if arrows else ("", "")
    for name in filter(None, (sender, to)):
        if not name.startswith("n"):
            raise ScenarioError(f"{name} is no node")

    def fits(transit: Transit) -> bool:
        return (
            sender in ("", transit.sender)
            and to in ("", transit.to)
            and (not kinds or type(transit.message).__name__ == kinds[0])
        )

    return fits, count


@command
def deliver(world: World, arguments: list[str]) -> None:
    """deliver [n1->n2] [AppendEntries] [3]

    Deliver what is on its way now: between these nodes, of this kind, at most so many.  Either side
    of the arrow may be left out.
    """
    taken = world.take(*_fitting(world, arguments))
    for transit in taken:
        world.deliver(transit)
    if not taken:
        world.say("nothing is on its way")


@command
def drop(world: World, arguments: list[str]) -> None:
    """drop [n1->n2] [AppendEntries] [3]

    Lose what is on its way now, chosen as for `deliver`.
    """
    taken = world.take(*_fitting(world, arguments))
    for transit in taken:
        world.say(f"lost: {transit.sender} -> {transit.to}  {words.brief(transit.message)}")
    if not taken:
        world.say("nothing is on its way")


@command
def repeat(world: World, arguments: list[str]) -> None:
    """repeat [n1->n2] [AppendEntries] [3]

    What is on its way now, chosen as for `deliver`, will arrive twice, the second time last.
    """
    fits, count = _fitting(world, arguments)
    world.network += [transit for transit in world.network if fits(transit)][:count]


@command
def delay(world: World, arguments: list[str]) -> None:
    """delay [n1->n2] [AppendEntries] [3]

    What is on its way now, chosen as for `deliver`, is overtaken by everything else.
    """
    world.network += world.take(*_fitting(world, arguments))


@command
def network(world: World, arguments: list[str]) -> None:
    """network

    Show what is on its way.
    """
    for transit in world.network:
        world.say(f"{transit.sender} -> {transit.to}  {words.full(transit.message)}")
    if not world.network:
        world.say("nothing is on its way")


@command
def stabilize(world: World, arguments: list[str]) -> None:
    """stabilize [n1 n2]

    Deliver what these nodes, or all, send each other, until nothing is on its way.
    """
    world.stabilize(set(some(world, arguments)))


@command
def cut(world: World, arguments: list[str]) -> None:
    """cut n1 [n2]

    Disconnect these nodes: what they send or should get is lost.
    """
    if not arguments:
        raise ScenarioError("cut whom?")
    world.cut |= set(some(world, arguments))


@command
def heal(world: World, arguments: list[str]) -> None:
    """heal [n1]

    Connect these nodes again, or all.
    """
    world.cut -= set(some(world, arguments))
