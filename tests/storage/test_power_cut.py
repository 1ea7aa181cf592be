"""The power goes at every moment there is: what was acknowledged is there afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from raftcore.storage import LogStore, MemoryLog
from raftcore.types import Entry, HardState
from tests.storage.disks import PowerCut, PowerCutDisk, QuickDisk
from tests.storage.logs import content, entry, open_log

ENOUGH = 10_000
Batch = tuple[HardState | None, list[Entry]]


@dataclass
class Story:
    """Batches to write, and how far a log got with them."""

    batches: list[Batch]
    acknowledged: int = 0
    synced: list[bool] = field(default_factory=list)

    @classmethod
    def drawn(cls, rng: random.Random) -> Story:
        """Batches of all sizes, some of which replace the end of the log."""
        batches: list[Batch] = []
        last = 0
        for term in range(1, 13):
            first = max(1, last - rng.randrange(5)) if rng.random() < 0.3 else last + 1
            count = rng.randrange(1, 6)
            entries = [
                entry(index, term, bytes([term]) * rng.choice((0, 50, 700, 3000)))
                for index in range(first, first + count)
            ]
            batches.append((HardState(term, rng.choice((None, "n1"))), entries))
            last = first + count - 1
        return cls(batches)

    def write(self, log: LogStore) -> None:
        """Write what is not yet acknowledged."""
        for hard_state, entries in self.batches[self.acknowledged :]:
            log.append(hard_state, entries)
            log.sync()
            self.acknowledged += 1

    def states(self) -> Iterator[tuple[HardState, list[Entry]]]:
        """What a log may hold: the acknowledged batches, or also the one in the making."""
        for count in (self.acknowledged, self.acknowledged + 1):
            twin = MemoryLog()
            for batch in self.batches[:count]:
                twin.append(*batch)
            yield twin.hard_state, content(twin)


def run_until_the_cut(folder: Path, story: Story, disk: PowerCutDisk) -> bool:
    """Write until the power goes; whether it did."""
    log = None
    try:
        log = open_log(folder, disk)
        story.write(log)
    except PowerCut:
        return True
    finally:
        if log is not None:
            with suppress(PowerCut):
                log.close()
    return False


@pytest.mark.parametrize("seed", range(4))
def test_a_power_cut_at_any_operation_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    operations = 0
    while True:
        rng = random.Random(f"{seed} {operations}")
        story = Story.drawn(random.Random(seed))
        folder = tmp_path / str(operations)
        disk = PowerCutDisk(operations)
        cut = run_until_the_cut(folder, story, disk)
        disk.lose(rng)
        log = open_log(folder)
        assert (log.hard_state, content(log)) in list(story.states())
        log.close()
        if not cut:
            break
        operations += 1
    assert operations > 3 * len(story.batches)


@pytest.mark.parametrize("seed", range(60))
def test_a_log_survives_one_power_cut_after_another(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    story = Story.drawn(rng)
    while story.acknowledged < len(story.batches):
        disk = PowerCutDisk(rng.randrange(1, 12))
        run_until_the_cut(tmp_path, story, disk)
        disk.lose(rng)
        log = open_log(tmp_path)
        possible = list(story.states())
        found = (log.hard_state, content(log))
        assert found in possible
        if found != possible[0]:
            story.acknowledged += 1
        log.close()
    log = open_log(tmp_path, QuickDisk())
    assert (log.hard_state, content(log)) == next(story.states())
    log.close()
