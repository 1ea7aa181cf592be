"""A tail that a power cut tore is repaired; anything else that changed on disk is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from raftcore.storage import LogDamaged, LogVersionUnknown
from raftcore.storage.segment import HEADER_BYTES
from raftcore.types import Entry, HardState
from tests.storage.disks import sectors
from tests.storage.logs import content, entry, files, open_log, run, write

FIRST = "0000000000000001.wal"
SECOND = "0000000000000002.wal"


class Written:
    """A closed log of four batches, and where the last of them lies."""

    def __init__(self, folder: Path, last_batch: list[Entry]) -> None:
        self.folder = folder
        self.path = folder / FIRST
        log = open_log(folder)
        self.borders = [HEADER_BYTES]
        for batch in (run(1, 3), run(4, 5), run(6, 6), last_batch):
            write(log, batch, HardState(batch[0].index, "n1"))
            self.borders.append(len(self.path.read_bytes().rstrip(b"\0")))
        log.close()
        self.bytes = self.path.read_bytes()
        self.before = run(1, 6)
        self.whole = self.before + last_batch
        self.start, self.end = self.borders[-2:]

    def reopened(self) -> list[Entry]:
        log = open_log(self.folder)
        try:
            return content(log)
        finally:
            log.close()

    def refused(self) -> LogDamaged:
        """Check that opening is refused and touches nothing."""
        before = files(self.folder)
        with pytest.raises(LogDamaged) as caught:
            open_log(self.folder)
        assert files(self.folder) == before
        return caught.value

    def goes_on_without_the_last_batch(self) -> None:
        """Check that the tail was cut, and that what is written now survives."""
        log = open_log(self.folder)
        assert content(log) == self.before
        assert log.hard_state == HardState(6, "n1")
        write(log, run(7, 9, term=5))
        log.close()
        assert self.reopened() == self.before + run(7, 9, term=5)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path, run(7, 9))


@pytest.fixture(params=[0xAA, 0], ids=["full", "zeros"])
def wide(tmp_path: Path, request: pytest.FixtureRequest) -> Written:
    """The last batch covers several sectors."""
    return Written(tmp_path, [entry(7, data=bytes([request.param]) * 1900)])


def test_a_batch_cut_at_any_byte_is_dropped(written: Written) -> None:
    for cut in range(written.start, written.end):
        written.path.write_bytes(written.bytes[:cut].ljust(len(written.bytes), b"\0"))
        written.goes_on_without_the_last_batch()


def test_a_file_cut_at_any_byte_of_the_last_batch_goes_on(written: Written) -> None:
    for cut in range(written.start, written.end):
        for segment in written.folder.glob("*.wal"):
            segment.unlink()
        written.path.write_bytes(written.bytes[:cut])
        written.goes_on_without_the_last_batch()


def test_a_batch_of_which_any_sectors_are_missing_is_dropped(wide: Written) -> None:
    parts = sectors(wide.start, wide.end - wide.start)
    assert len(parts) >= 4
    for count in range(1, len(parts) + 1):
        for missing in itertools.combinations(parts, count):
            torn = bytearray(wide.bytes)
            for start, stop in missing:
                torn[start:stop] = bytes(stop - start)
            wide.path.write_bytes(torn)
            wide.goes_on_without_the_last_batch()


def test_what_was_torn_off_is_kept(written: Written) -> None:
    torn = written.bytes[: written.end - 1]
    written.path.write_bytes(torn.ljust(len(written.bytes), b"\0"))
    written.goes_on_without_the_last_batch()
    kept = written.folder / f"{written.path.stem}.torn-at-{written.start}"
    assert kept.read_bytes() == torn[written.start :].rstrip(b"\0")


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_a_flipped_bit_anywhere_loses_nothing_silently(written: Written, flip: int) -> None:
    refusals = 0
    for position in range(written.end):
        changed = bytearray(written.bytes)
        changed[position] ^= flip
        written.path.write_bytes(changed)
        try:
            assert written.reopened() == written.whole
        except LogDamaged as damage:
            refusals += 1
            assert damage.path == written.path
            assert damage.offset <= position
            assert written.path.read_bytes() == changed
    # The unused rest of the header and a frame's own check are all that may change unseen.
    unseen = (HEADER_BYTES - 48) + 4 * len(written.borders[1:])
    assert refusals == written.end - unseen


def test_a_batch_full_of_zeros_is_no_torn_tail_when_a_bit_of_it_flips(wide: Written) -> None:
    for position in range(wide.start, wide.end):
        changed = bytearray(wide.bytes)
        changed[position] ^= 0x10
        wide.path.write_bytes(changed)
        if not 16 <= position - wide.start < 20:  # the frame's own check
            assert wide.refused().offset == wide.start


def test_the_refusal_names_file_and_offset_and_what_to_do(written: Written) -> None:
    changed = bytearray(written.bytes)
    changed[written.borders[1] + 30] ^= 4
    written.path.write_bytes(changed)
    damage = written.refused()
    assert (damage.path, damage.offset) == (written.path, written.borders[1])
    for part in (str(written.path), str(written.borders[1]), "new node id"):
        assert part in str(damage)


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_missing_batch_in_the_middle_is_refused(written: Written, batch: int) -> None:
    start, stop = written.borders[batch : batch + 2]
    changed = bytearray(written.bytes)
    changed[start:stop] = bytes(stop - start)
    written.path.write_bytes(changed)
    assert written.refused().offset == start


def test_a_batch_moved_up_is_refused(written: Written) -> None:
    start, stop = written.borders[1:3]
    moved = written.bytes[:start] + written.bytes[stop:] + bytes(stop - start)
    written.path.write_bytes(moved)
    assert written.refused().offset == start


def test_a_missing_vote_is_refused_although_no_index_tells(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    borders = []
    for term in range(1, 5):
        borders.append(len((tmp_path / FIRST).read_bytes().rstrip(b"\0")))
        write(log, [], HardState(term, "n1"))
    log.close()
    path = tmp_path / FIRST
    before = path.read_bytes()
    cut = before[: borders[1]] + before[borders[2] :]
    path.write_bytes(cut.ljust(len(before), b"\0"))
    with pytest.raises(LogDamaged, match="missing"):
        open_log(tmp_path)


def test_garbage_behind_the_last_batch_is_refused(written: Written) -> None:
    changed = bytearray(written.bytes)
    changed[written.end : written.end + 100] = b"\x55" * 100
    written.path.write_bytes(changed)
    assert written.refused().offset == written.end


def test_a_length_beyond_the_file_is_not_believed(written: Written) -> None:
    changed = bytearray(written.bytes)
    changed[written.start + 4 : written.start + 8] = b"\xff" * 4
    written.path.write_bytes(changed)
    assert written.refused().offset == written.start


class TestSegments:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        log = open_log(tmp_path)
        for index in range(1, 13):
            write(log, [entry(index, data=bytes(1000))])
        log.close()
        assert len(list(tmp_path.glob("*.wal"))) >= 3
        return tmp_path

    def refused(self, folder: Path) -> LogDamaged:
        before = files(folder)
        with pytest.raises(LogDamaged) as caught:
            open_log(folder)
        assert files(folder) == before
        return caught.value

    def test_the_last_batch_of_an_earlier_segment_is_no_tail(self, folder: Path) -> None:
        path = folder / FIRST
        written = path.read_bytes().rstrip(b"\0")
        path.write_bytes(written[:-1].ljust(path.stat().st_size, b"\0"))
        assert self.refused(folder).path == path

    def test_a_missing_segment_is_refused(self, folder: Path) -> None:
        (folder / SECOND).unlink()
        assert self.refused(folder).path == folder / SECOND

    def test_exchanged_segments_are_refused(self, folder: Path) -> None:
        (folder / FIRST).replace(folder / "aside")
        (folder / SECOND).replace(folder / FIRST)
        (folder / "aside").replace(folder / SECOND)
        assert self.refused(folder).path == folder / FIRST

    def test_a_segment_of_another_log_is_refused(self, folder: Path) -> None:
        other = open_log(folder / "other")
        for index in range(1, 13):
            write(other, [entry(index, 2, bytes(1000))])
        other.close()
        (folder / "other" / SECOND).replace(folder / SECOND)
        self.refused(folder)

    @pytest.mark.parametrize("length", [0, 100, 4096])
    def test_a_segment_in_the_middle_without_its_header_is_refused(
        self, folder: Path, length: int
    ) -> None:
        (folder / SECOND).write_bytes(bytes(length))
        assert self.refused(folder).path == folder / SECOND

    def test_a_wiped_header_before_written_records_is_refused(self, folder: Path) -> None:
        path = max(folder.glob("*.wal"))
        path.write_bytes(bytes(HEADER_BYTES) + path.read_bytes()[HEADER_BYTES:])
        assert self.refused(folder).path == path


@pytest.mark.parametrize("cut", [0, 1, 20, 35])
def test_a_header_cut_short_before_any_record_is_begun_again(tmp_path: Path, cut: int) -> None:
    open_log(tmp_path).close()
    path = tmp_path / FIRST
    path.write_bytes(path.read_bytes()[:cut].ljust(path.stat().st_size, b"\0"))
    log = open_log(tmp_path)
    write(log, run(1, 3))
    log.close()
    log = open_log(tmp_path)
    assert content(log) == run(1, 3)
    log.close()


def test_damage_met_by_a_read_is_told(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    write(log, run(1, 3))
    path = tmp_path / FIRST
    changed = bytearray(path.read_bytes())
    changed[HEADER_BYTES + 40] ^= 1
    path.write_bytes(changed)
    with pytest.raises(LogDamaged, match="changed since"):
        log.entries(1, 3, 1000)
    log.close()


def test_another_format_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftcore.storage.segment.VERSION", 9)
    open_log(tmp_path).close()
    monkeypatch.undo()
    with pytest.raises(LogVersionUnknown, match="version 9"):
        open_log(tmp_path)
