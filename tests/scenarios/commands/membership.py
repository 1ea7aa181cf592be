"""Changing who takes part."""

from __future__ import annotations

from collections.abc import Callable

from raftcore import (
    AddLearner,
    AddVoter,
    Change,
    Demote,
    JointMode,
    Membership,
    Promote,
    Remove,
)
from tests.scenarios.commands.clusters import SETTINGS, value
from tests.scenarios.commands.language import ask, command, number, one, options
from tests.scenarios.world import ScenarioError, World

_CHANGES: dict[str, Callable[[str], Change]] = {
    "learner": AddLearner,
    "witness": lambda name: AddLearner(name, witness=True),
    "voter": AddVoter,
    "promote": Promote,
    "demote": Demote,
    "remove": Remove,
}


@command
def node(world: World, arguments: list[str]) -> None:
    """node n4 [witness=yes ...]

    Start a node with an empty disk that knows of no members yet, with these settings.
    """
    plain, pairs = options(arguments, SETTINGS)
    if len(plain) != 1 or not plain[0].lstrip("n").isdigit():
        raise ScenarioError("node <name>")
    own = {name: value(text) for name, text in pairs.items()}
    world.add(plain[0], Membership(frozenset()), own)


@command
def change(world: World, arguments: list[str]) -> None:
    """change n1 promote n4 remove n3 [joint=always|explicit] [based_on=5]

    Ask n1 for changes of the membership: `learner`, `witness` (a learner that keeps no data),
    `voter`, `promote`, `demote` and `remove`, each with a node.
    """
    plain, pairs = options(arguments, {"joint", "based_on"})
    name, words, names = plain[0], plain[1::2], plain[2::2]
    if len(words) != len(names) or not set(words) <= set(_CHANGES):
        raise ScenarioError(f"each change is one of {', '.join(_CHANGES)} and a node")
    changes = [_CHANGES[word](member) for word, member in zip(words, names, strict=True)]
    based_on = number(pairs["based_on"]) if "based_on" in pairs else None
    mode = JointMode[pairs.get("joint", "auto").upper()]
    ask(
        world,
        name,
        lambda core, now_ms: core.change_membership(changes, now_ms, based_on=based_on, joint=mode),
    )


@command
def leave(world: World, arguments: list[str]) -> None:
    """leave n1

    Ask n1 to leave a joint configuration that was entered with `joint=explicit`.
    """
    ask(world, one(world, arguments), lambda core, now_ms: core.leave_joint(now_ms))
