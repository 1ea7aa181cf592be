"""The consensus loop: what waits for the disk waits, and nothing else does."""

from __future__ import annotations

import asyncio

import pytest

from raftcore.effects import Apply, Persist, RoleChanged, Send
from raftcore.errors import InvariantViolation
from raftcore.storage import MemoryLog
from raftcore.types import Entry, EntryKind, Role
from raftdjango.node.consensus.log_writer import LogWriter
from raftdjango.node.consensus.loop import Consensus


class Core:
    """Gives the effects that a test prepared."""

    def __init__(self) -> None:
        self.effects: list = []
        self.heard: list = []
        self.taken = 0
        self.due: int | None = None
        self.error: Exception | None = None

    def take_effects(self):
        if self.error:
            raise self.error
        self.taken += 1
        effects, self.effects = self.effects, []
        return effects

    def receive(self, message, now_ms):
        self.heard.append(message)

    def persisted(self, ticket, now_ms):
        self.heard.append(ticket)

    def applied(self, index):
        self.heard.append(("applied", index))

    def next_timer(self):
        return self.due

    def handle_timer(self, now_ms):
        self.due = None
        self.heard.append("timer")


class Driver:
    """A consensus loop whose surroundings are lists."""

    def __init__(self) -> None:
        self.core = Core()
        self.persists: list = []
        self.sent: list = []
        self.flushed: list = []
        """What had been sent and put at each flush."""
        self.applies: list = []
        self.roles: list = []
        self.reads: list = []
        self.failures: list = []
        self.consensus = Consensus(
            self.core,
            asyncio.get_running_loop(),
            persist=self.persists.append,
            send=lambda to, message: self.sent.append((to, message)),
            flush=lambda: self.flushed.append((len(self.sent), len(self.persists))),
            apply=self.applies.append,
            on_role=self.roles.append,
            on_reads=self.reads.append,
            on_failure=self.failures.append,
        )

    async def turn(self, *effects) -> None:
        self.core.effects += effects
        self.consensus.touch()
        await asyncio.sleep(0)


def entry(index: int) -> Entry:
    return Entry(index, 1, EntryKind.COMMAND, 0, b"")


def on_loop(test):
    """Run an async test with a driver."""

    def run() -> None:
        async def made() -> None:
            await test(Driver())

        asyncio.run(made())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_loop
async def test_a_send_waits_for_its_ticket_and_others_do_not(driver):
    await driver.turn(Persist(None, (entry(1),), 1), Send("a", "vote", 1), Send("b", "append", 0))
    assert driver.sent == [("b", "append")]
    driver.consensus.persisted(1)
    assert driver.sent == [("b", "append"), ("a", "vote")]


@on_loop
async def test_what_is_sent_leaves_before_this_node_begins_to_write(driver):
    await driver.turn(Persist(None, (entry(1),), 1), Send("a", "append", 0), Send("b", "vote", 1))
    assert driver.flushed == [(1, 0)], "with the send, before the write"
    assert len(driver.persists) == 1
    driver.consensus.persisted(1)
    assert driver.flushed == [(1, 0), (2, 1)], "an acknowledgement need not wait for a turn"


@on_loop
async def test_the_disk_holds_up_nothing_that_was_sent(driver):
    """What a loop writes in one iteration leaves at its end; the sync comes in a later one."""
    events: list[str] = []

    class Store(MemoryLog):
        def sync(self) -> None:
            events.append("synced")

    def flush() -> None:
        asyncio.get_running_loop().call_soon(events.append, "next iteration")

    loop = asyncio.get_running_loop()
    writer = LogWriter(
        Store(), loop, on_persisted=lambda _: None, on_failure=driver.failures.append, name="log"
    )
    driver.consensus._persist, driver.consensus._flush = writer.put, flush
    await driver.turn(Persist(None, (entry(1),), 1), Send("a", "append", 0))
    assert events == []
    await asyncio.sleep(0)
    assert events == ["next iteration", "synced"]


@on_loop
async def test_a_later_ticket_covers_earlier_ones_and_not_the_reverse(driver):
    await driver.turn(Send("a", "one", 1), Send("a", "three", 3), Send("a", "two", 2))
    driver.consensus.persisted(2)
    assert [message for _, message in driver.sent] == ["one", "two"]
    driver.consensus.persisted(3)
    assert [message for _, message in driver.sent] == ["one", "two", "three"]


@on_loop
async def test_entries_are_applied_in_order_and_only_once_durable(driver):
    await driver.turn(Apply((entry(1),), 1), Apply((entry(2),), 0))
    assert driver.applies == [], "the second must not overtake the first"
    driver.consensus.persisted(1)
    assert driver.applies == [(entry(1),), (entry(2),)]


@on_loop
async def test_many_inputs_of_one_turn_are_one_batch(driver):
    for message in range(100):
        driver.consensus.receive(message)
    await asyncio.sleep(0)
    assert driver.core.heard == list(range(100))
    assert driver.core.taken == 1


@on_loop
async def test_a_change_of_role_is_told(driver):
    change = RoleChanged(Role.LEADER, 2, "me")
    await driver.turn(change)
    assert driver.roles == [change]


@on_loop
async def test_the_timer_fires_when_the_core_wants_it(driver):
    driver.core.due = 0
    await driver.turn()
    await asyncio.sleep(0.05)
    assert "timer" in driver.core.heard


@on_loop
async def test_a_broken_promise_of_the_protocol_stops_the_loop(driver):
    driver.core.error = InvariantViolation("two leaders in one term")
    await driver.turn()
    assert isinstance(driver.failures[0], InvariantViolation)
    driver.core.error = None
    driver.consensus.receive("more")
    await driver.turn(Send("a", "vote", 0))
    assert driver.sent == []
    assert driver.core.heard == []


@pytest.mark.parametrize("name", ["_persist", "_send", "_flush", "_apply", "_on_role"])
def test_an_effect_that_is_not_carried_out_stops_the_loop(name):
    """It would not be given again: this node would stand still and say nothing."""

    async def made() -> None:
        driver = Driver()

        def fail(*arguments):
            raise RuntimeError("no")

        setattr(driver.consensus, name, fail)
        role = RoleChanged(Role.LEADER, 2, "me")
        await driver.turn(Send("a", "vote", 0), Persist(None, (), 1), Apply((entry(1),), 0), role)
        assert len(driver.failures) == 1
        await driver.turn(Send("a", "vote", 0))
        assert driver.core.effects != [], "nothing more is taken"

    asyncio.run(made())


def test_what_waited_for_the_disk_and_is_not_carried_out_stops_the_loop():
    async def made() -> None:
        driver = Driver()
        await driver.turn(Apply((entry(1),), 1))
        driver.consensus._apply = lambda entries: 1 / 0
        driver.consensus.persisted(1)
        assert len(driver.failures) == 1

    asyncio.run(made())


@pytest.mark.parametrize("name", ["receive", "persisted", "applied"])
def test_an_error_in_any_input_stops_the_loop(name):
    async def made() -> None:
        driver = Driver()

        def fail(*arguments):
            raise InvariantViolation("no")

        setattr(driver.core, name, fail)
        getattr(driver.consensus, name)(1)
        await driver.turn(Send("a", "vote", 0))
        assert len(driver.failures) == 1
        assert driver.sent == []

    asyncio.run(made())
