"""Starting clusters, letting time pass, electing and handing over."""

from __future__ import annotations

import dataclasses

from raftcore import Config, Entry, EntryKind, HardState, Membership, Role
from tests.scenarios.commands.language import ask, command, last_number, number, one, options, some
from tests.scenarios.world import ScenarioError, World

SETTINGS = {field.name for field in dataclasses.fields(Config)} - {"node_id"}


def value(text: str) -> int | float | bool:
    if text in ("yes", "no"):
        return text == "yes"
    return float(text) if "." in text else number(text)


@command
def cluster(world: World, arguments: list[str]) -> None:
    """cluster 3 [learners=n3,n4] [voters=n1,n2] [inflight_max=2 n3.priority=2 ...]

    Start nodes n1, n2, ...; other options are settings of `Config`, for all of them or for one.
    """
    if world.machines:
        raise ScenarioError("there is a cluster already")
    plain = [word for word in arguments if "=" not in word]
    if len(plain) != 1:
        raise ScenarioError("how many nodes?")
    everybody = [f"n{i}" for i in range(1, number(plain[0]) + 1)]
    of_one = {f"{name}.{setting}" for name in everybody for setting in SETTINGS}
    _, pairs = options(arguments, SETTINGS | of_one | {"learners", "voters"})
    learners = set(filter(None, pairs.pop("learners", "").split(",")))
    voters = set(filter(None, pairs.pop("voters", "").split(","))) or set(everybody) - learners
    witnesses = frozenset(name for name in everybody if pairs.get(f"{name}.witness") == "yes")
    settings = {name: value(text) for name, text in pairs.items()}
    world.settings = {name: known for name, known in settings.items() if "." not in name}
    for name in everybody:
        own = {
            setting.removeprefix(f"{name}."): known
            for setting, known in settings.items()
            if setting.startswith(f"{name}.")
        }
        bootstrap = Membership(frozenset(voters), frozenset(learners), witnesses=witnesses)
        world.add(name, bootstrap, own)


@command
def given(world: World, arguments: list[str]) -> None:
    """given n2 log 1 1 1 4 4 [term=6] [vote=n1]

    Start n2 anew with a log of these terms, as the paper draws logs; its term is the last entry's.
    """
    plain, pairs = options(arguments, {"term", "vote"})
    if len(plain) < 2 or plain[1] != "log":
        raise ScenarioError("given <node> log <terms>")
    machine = world[plain[0]]
    if machine.disk.last_index:
        raise ScenarioError(f"{plain[0]} has a log already")
    terms = [number(text) for text in plain[2:]]
    term = number(pairs["term"]) if "term" in pairs else max(terms, default=0)
    log = [
        Entry(i, t, EntryKind.COMMAND, 0, f"e{i}".encode()) for i, t in enumerate(terms, start=1)
    ]
    machine.given(HardState(term, pairs.get("vote")), log)
    machine.start()


@command
def tick(world: World, arguments: list[str]) -> None:
    """tick [n1 n2] [500]

    Let time pass on these nodes, all of them if none is named; without a time up to the next timer.
    """
    named, duration_ms = last_number(arguments)
    for name in some(world, named):
        machine = world[name]
        if machine.down:
            continue
        due_ms = machine.core.next_timer()
        if duration_ms is None and due_ms is None:
            world.say(f"{name} waits for nothing")
        elif duration_ms is None and due_ms is not None:
            machine.tick(max(due_ms - machine.now_ms, 0))
        else:
            machine.tick(duration_ms or 0)


@command
def run(world: World, arguments: list[str]) -> None:
    """run 5000

    Let time pass everywhere, deliver everything at once and serve every timer when it is due.
    """
    named, left_ms = last_number(arguments)
    if named or left_ms is None:
        raise ScenarioError("run <milliseconds>")
    world.run(left_ms)


@command
def sleep(world: World, arguments: list[str]) -> None:
    """sleep n1 5000

    The node itself is asleep for this long: nothing looks at its timers before it is over.
    """
    named, duration_ms = last_number(arguments)
    world.up(one(world, named)).sleep(duration_ms or 0)


@command
def campaign(world: World, arguments: list[str]) -> None:
    """campaign n1

    Let its election timeout pass, on its own clock only.
    """
    machine = world.up(one(world, arguments))
    if machine.core.role is Role.LEADER:
        raise ScenarioError(f"{machine.name} leads already")
    due_ms = machine.core._node.election_due_ms
    if due_ms is None:
        why = "it installs a snapshot" if machine.core._node.installing else "it is no voter"
        world.say(f"{machine.name} does not campaign: {why}")
    else:
        machine.sleep(max(due_ms - machine.now_ms, 0))


@command
def transfer(world: World, arguments: list[str]) -> None:
    """transfer n1 [n2]

    Ask n1 to hand leadership over to n2, or to whom it thinks best.
    """
    name, *to = some(world, arguments)
    ask(world, name, lambda core, now_ms: core.transfer_leadership(to[0] if to else None, now_ms))
