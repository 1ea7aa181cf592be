"""The power goes at every moment there is: what was acknowledged is there afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from raftcore.storage import LogStore, MemoryLog, WriteAheadLog
from raftcore.types import Entry, HardState, SnapshotMeta
from tests.storage.disks import PowerCut, PowerCutDisk, QuickDisk
from tests.storage.logs import SMALL_SEGMENT, content, entry, open_log, snapshot, write

NEVER = 1 << 30
Step = Callable[[LogStore], None]
State = tuple[HardState, SnapshotMeta | None, int, list[Entry]]


def state(log: LogStore) -> State:
    return log.hard_state, log.snapshot, log.first_index, content(log)


def written(hard_state: HardState, entries: list[Entry]) -> Step:
    def step(log: LogStore) -> None:
        log.append(hard_state, entries)
        log.sync()

    return step


def compacted(meta: SnapshotMeta, through: int) -> Step:
    return lambda log: log.compact(meta, through)


def replaced(meta: SnapshotMeta, hard_state: HardState) -> Step:
    """A snapshot arrives, and with it a term that has not been synced yet."""

    def step(log: LogStore) -> None:
        log.append(hard_state, [])
        log.reset(meta)
        log.sync()

    return step


@dataclass
class Story:
    """Steps to take, and how far a log got with them.  Each is taken whole or not at all."""

    steps: list[Step]
    acknowledged: int = 0

    @classmethod
    def drawn(cls, rng: random.Random, *, snapshots: bool = True) -> Story:
        """Batches of all sizes, some of which replace the end of the log; snapshots between them."""
        steps: list[Step] = []
        twin = MemoryLog()
        for term in range(1, 13):
            last, covered = twin.last_index, twin.snapshot.index if twin.snapshot else 0
            first = max(covered + 1, last - rng.randrange(5)) if rng.random() < 0.3 else last + 1
            entries = [
                entry(index, term, bytes([term]) * rng.choice((0, 50, 700, 3000)))
                for index in range(first, first + rng.randrange(1, 6))
            ]
            steps.append(written(HardState(term, rng.choice((None, "n1"))), entries))
            steps[-1](twin)
            if not snapshots or rng.random() < 0.5:
                continue
            if rng.random() < 0.3:
                meta = snapshot(twin.last_index + rng.randrange(1, 9), term)
                steps.append(replaced(meta, HardState(term, "n3")))
            else:
                index = rng.randint(max(covered, twin.first_index), twin.last_index)
                meta = snapshot(index, twin.term(index))
                steps.append(compacted(meta, rng.randint(twin.first_index - 1, index)))
            steps[-1](twin)
        return cls(steps)

    def write(self, log: LogStore) -> None:
        """Take the steps that are not yet acknowledged."""
        for step in self.steps[self.acknowledged :]:
            step(log)
            self.acknowledged += 1

    def states(self) -> Iterator[State]:
        """What a log may hold: what the acknowledged steps made, or also the one in the making."""
        for count in (self.acknowledged, self.acknowledged + 1):
            twin = MemoryLog()
            for step in self.steps[:count]:
                step(twin)
            yield state(twin)

    def goes_on_from(self, log: LogStore) -> None:
        """See that the log holds what it may, and go on behind it."""
        possible = list(self.states())
        found = state(log)
        # A term that came with a snapshot may be there before the snapshot is.
        assert found in possible or (found[1:] == possible[0][1:] and found[0] == possible[1][0])
        if found != possible[0] and found == possible[1]:
            self.acknowledged += 1


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


@pytest.mark.parametrize("seed", range(6))
def test_a_power_cut_at_any_operation_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    operations = 0
    while True:
        rng = random.Random(f"{seed} {operations}")
        story = Story.drawn(random.Random(seed), snapshots=seed > 1)
        folder = tmp_path / str(operations)
        disk = PowerCutDisk(operations)
        cut = run_until_the_cut(folder, story, disk)
        disk.lose(rng)
        with closing(open_log(folder)) as log:
            story.goes_on_from(log)
            story.write(log)
            assert state(log) == next(story.states())
        if not cut:
            break
        operations += 1
    assert operations > 3 * len(story.steps)


@pytest.mark.parametrize("seed", range(60))
def test_a_log_survives_one_power_cut_after_another(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    story = Story.drawn(rng)
    while story.acknowledged < len(story.steps):
        disk = PowerCutDisk(rng.randrange(1, 16))
        run_until_the_cut(tmp_path, story, disk)
        disk.lose(rng)
        with closing(open_log(tmp_path)) as log:
            story.goes_on_from(log)
    with closing(open_log(tmp_path, QuickDisk())) as log:
        assert state(log) == next(story.states())


def killed_at_each_operation(
    tmp_path: Path, seed: int
) -> Iterator[tuple[random.Random, Story, Path, PowerCutDisk]]:
    """Logs whose process ended, on disks that have kept what it had not synced."""
    operations = 0
    cut = True
    while cut:
        story = Story.drawn(random.Random(seed), snapshots=seed > 1)
        folder = tmp_path / str(operations)
        disk = PowerCutDisk(operations)
        cut = run_until_the_cut(folder, story, disk)
        disk.operations = NEVER
        yield random.Random(f"{seed} {operations}"), story, folder, disk
        operations += 1


@pytest.mark.parametrize("seed", range(8))
def test_what_is_found_after_a_kill_stays_when_the_power_goes_then(
    tmp_path: Path, seed: int
) -> None:
    # The process ends at any operation; what the next one reads it counts on at once.
    for rng, _, folder, disk in killed_at_each_operation(tmp_path, seed):
        with closing(open_log(folder, disk)) as log:
            found = state(log)
        disk.lose(rng)
        with closing(open_log(folder, disk)) as log:
            assert state(log) == found


@pytest.mark.parametrize("seed", range(8))
def test_what_is_written_after_a_kill_stays_when_the_power_goes_then(
    tmp_path: Path, seed: int
) -> None:
    # It goes on in files that the process before it had made, synced or not.
    for rng, story, folder, disk in killed_at_each_operation(tmp_path, seed):
        with closing(open_log(folder, disk)) as log:
            story.goes_on_from(log)
            story.write(log)
            written = state(log)
        disk.lose(rng)
        with closing(open_log(folder, disk)) as log:
            assert state(log) == written


class FolderNotSynced(PowerCutDisk):
    """A sync of new names fails once; the kernel takes for written what it was to write."""

    def __init__(self) -> None:
        super().__init__(NEVER)
        self.failing = False
        self._taken_for_written: list[tuple[Path, bytes | None]] = []

    def rename(self, path: Path, to: Path) -> None:
        super().rename(path, to)
        self._taken_for_written = [name for name in self._taken_for_written if name[0] != to]

    def sync_folder(self, folder: Path) -> None:
        if not self.failing or not self._names:
            super().sync_folder(folder)
            return
        self.failing = False
        self._taken_for_written, self._names = self._names, []
        raise OSError(5, "Input/output error")

    def lose_all_names(self) -> None:
        for path, before in reversed(self._taken_for_written + self._names):
            assert before is None
            path.unlink()


def test_the_name_of_a_segment_made_ahead_is_durable_before_the_segment_is_used(
    tmp_path: Path,
) -> None:
    disk = FolderNotSynced()
    open_log(tmp_path, disk).close()
    disk.failing = True
    log = WriteAheadLog.open(tmp_path, segment_bytes=SMALL_SEGMENT, disk=disk)
    for index in (1, 2):
        write(log, [entry(index, data=bytes(3000))], HardState(index, "n1"))
    written = state(log)
    log.close()
    disk.lose_all_names()
    with closing(open_log(tmp_path, disk)) as log:
        assert state(log) == written
