"""The commands of the scenario language.

One that a core refuses tells so in the output; one that makes no sense is a `ScenarioError`.
"""

from __future__ import annotations

import itertools

# Each of these adds its commands to the table, in the order of the help.
from tests.scenarios.commands import clusters, network, storage, snapshots, membership, looking  # isort: skip
from tests.scenarios.commands.language import COMMANDS
from tests.scenarios.world import ScenarioError, World

__all__ = [
    "COMMANDS",
    "clusters",
    "looking",
    "membership",
    "network",
    "run",
    "snapshots",
    "storage",
]


def run(world: World, line: str) -> list[str]:
    """Run one command; the lines that it brought."""
    world.lines = []
    word, *arguments = line.split()
    silent = word == "silently"
    if silent:
        if not arguments:
            raise ScenarioError("silently what?")
        word, *arguments = arguments
    if word not in COMMANDS:
        raise ScenarioError(f"no command {word}; there are {', '.join(sorted(COMMANDS))}")
    COMMANDS[word](world, arguments)
    world.collect()
    return [] if silent else _counted(world.lines)


def _counted(lines: list[str]) -> list[str]:
    """What is told several times in a row is told once, with how often."""
    counted: list[str] = []
    runs = [(line, len(list(same))) for line, same in itertools.groupby(lines)]
    for (line, times), (after, _) in itertools.zip_longest(runs, runs[1:], fillvalue=("", 0)):
        if after.startswith("  ") and not line.startswith("  "):
            # The last of them has consequences.
            counted += [line] * times
        else:
            counted.append(line if times == 1 else f"{line}  ({times} times)")
    return counted
