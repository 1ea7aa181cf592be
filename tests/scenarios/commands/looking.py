"""Showing what there is; nothing happens by these."""

from __future__ import annotations

from tests.scenarios import words
from tests.scenarios.commands.language import command, one, some
from tests.scenarios.world import ScenarioError, World


@command
def status(world: World, arguments: list[str]) -> None:
    """status [n1 n2]

    What each node is: role, term, vote, end of the log, commit and applied index.
    """
    for name in some(world, arguments):
        machine = world[name]
        if machine.down:
            world.say(f"{name}  down")
            continue
        core, node = machine.core, machine.core._node
        ends = words.place(core.last_index, node.log.last_term)
        vote = f", vote {node.voted_for}" if node.voted_for else ""
        world.say(
            f"{name}  {words.ROLES[core.role]} in term {core.current_term}{vote}, "
            f"leader {core.leader or 'unknown'}, log ends {ends}, commit {core.commit_index}, "
            f"applied {core.applied_index}"
            + (f", installs {words.snapshot(node.installing.meta)}" if node.installing else "")
        )


@command
def log(world: World, arguments: list[str]) -> None:
    """log n1 [n2]

    The entries on disk; a bar stands behind the last that the node knows to be committed.
    """
    for name in some(world, arguments):
        machine = world[name]
        world.say(f"{name}:")
        with world.indented():
            if machine.disk.snapshot is not None:
                world.say(words.snapshot(machine.disk.snapshot))
            for entry in machine.entries():
                known = not machine.down and entry.index == machine.core.commit_index
                world.say(words.entry(entry) + (" |" if known else ""))


@command
def logs(world: World, arguments: list[str]) -> None:
    """logs [n1 n2]

    Each log on disk as the paper draws it: its terms, one by one.
    """
    for name in some(world, arguments):
        entries, begins = world[name].entries(), world[name].disk.first_index
        first = f"from {begins}: " if begins > 1 else ""
        world.say(f"{name}  {first}{' '.join(str(entry.term) for entry in entries)}".rstrip())


@command
def progress(world: World, arguments: list[str]) -> None:
    """progress n1

    What the leader knows of the others: the paper's matchIndex and nextIndex, and what is unanswered.
    """
    machine = world.up(one(world, arguments))
    leading = machine.core._node.leading
    if leading is None:
        raise ScenarioError(f"{machine.name} does not lead")
    for member, known in sorted(
        leading.progress.items(), key=lambda pair: words.by_number(pair[0])
    ):
        inflight = len(known._inflight)
        text = f"{member}  {known.state.name.lower()}, match {known.match_index}, next {known.next_index}"
        if inflight:
            text += f", {inflight} unanswered"
        if known.probe_sent:
            text += ", waits for an answer"
        world.say(text)
