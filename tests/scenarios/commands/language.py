"""What commands are made of: a table of them, and their arguments.

Each command is a function whose docstring is its help: first how it is written, then what it does.
"""

from __future__ import annotations

from collections.abc import Callable

from raftcore import NotLeader, RaftError
from tests.scenarios.world import ScenarioError, World

Command = Callable[[World, list[str]], None]
COMMANDS: dict[str, Command] = {}


def command(function: Command) -> Command:
    """Make it known under its name."""
    COMMANDS[function.__name__.rstrip("_").replace("_", "-")] = function
    return function


def one(world: World, arguments: list[str]) -> str:
    if len(arguments) != 1:
        raise ScenarioError(f"one node is needed, not {' '.join(arguments) or 'none'}")
    world[arguments[0]]
    return arguments[0]


def some(world: World, arguments: list[str]) -> list[str]:
    """Names of nodes; all of them if there are none."""
    for name in arguments:
        world[name]
    return arguments or list(world.machines)


def number(text: str) -> int:
    if not text.isdigit():
        raise ScenarioError(f"{text} is not a number")
    return int(text)


def last_number(arguments: list[str]) -> tuple[list[str], int | None]:
    if arguments and arguments[-1].isdigit():
        return arguments[:-1], int(arguments[-1])
    return arguments, None


def options(arguments: list[str], known: set[str]) -> tuple[list[str], dict[str, str]]:
    """Words, and those of the form name=value."""
    plain = [word for word in arguments if "=" not in word]
    pairs = dict(word.split("=", 1) for word in arguments if "=" in word)
    if unknown := set(pairs) - known:
        raise ScenarioError(f"no option {' '.join(sorted(unknown))}")
    return plain, pairs


def ask(world: World, name: str, action: Callable[..., object]) -> None:
    """Ask a node's core for something; a refusal is part of the story."""
    machine = world.up(name)
    try:
        machine.call(action)
    except NotLeader as refusal:
        leader = refusal.leader or "nobody it knows"
        world.say(f"{name} refuses: not the leader, that is {leader}")
    except RaftError as refusal:
        world.say(f"{name} refuses: {refusal}")
