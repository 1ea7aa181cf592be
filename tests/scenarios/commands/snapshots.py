"""Taking snapshots, and telling how sending them ended.  On their way they are messages."""

from __future__ import annotations

from tests.scenarios import words
from tests.scenarios.commands.language import command, one
from tests.scenarios.world import ScenarioError, World


@command
def snapshot(world: World, arguments: list[str]) -> None:
    """snapshot n1 [fails]

    Take a snapshot of n1's state machine and compact its log, as far as `snapshot_trailing_entries`
    (here 0 by default) lets it; or say that none could be taken.
    """
    fails = arguments[1:] == ["fails"]
    machine = world.up(one(world, arguments[:1] if fails else arguments))
    if fails:
        machine.call(lambda core, now_ms: core.snapshot_failed(now_ms))
    else:
        machine.take_snapshot()


@command
def report(world: World, arguments: list[str]) -> None:
    """report n1->n3 sent|failed

    Tell n1 how its oldest snapshot to n3 ended, whatever has become of it.
    """
    if len(arguments) != 2 or arguments[1] not in ("sent", "failed"):
        raise ScenarioError("report <node>-><node> sent|failed")
    name, _, to = arguments[0].partition("->")
    machine = world.up(one(world, [name]))
    effect = next((effect for effect in machine.sending if effect.to == to), None)
    if effect is None:
        raise ScenarioError(f"{name} sends {to} no snapshot")
    machine.sending.remove(effect)
    ok = arguments[1] == "sent"
    came = "has reached" if ok else "has not reached"
    world.say(f"{name} hears that {words.brief(effect.message)} {came} {to}")
    machine.call(lambda core, now_ms: core.snapshot_sent(to, effect.message, now_ms, ok=ok))


@command
def state(world: World, arguments: list[str]) -> None:
    """state n1 slow|fast

    A slow state machine applies nothing and takes over no snapshot until it is fast again.
    """
    if len(arguments) != 2 or arguments[1] not in ("slow", "fast"):
        raise ScenarioError("state <node> slow|fast")
    machine = world.up(arguments[0])
    machine.slow_state = arguments[1] == "slow"
    machine.catch_up()
