"""Entries that hold what looks like frames: a torn one is cut off, and nobody refuses to start."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from raftcore.storage import LogDamaged
from raftcore.storage.record import encode_record
from raftcore.storage.segment import (
    HEADER_BYTES,
    Seal,
    decode_header,
    encode_frame,
    frame_follows,
    read_frame,
)
from raftcore.types import Entry
from tests.storage.disks import sectors
from tests.storage.logs import content, entry, open_log, run, write

FIRST = "0000000000000001.wal"
LARGE = 1 << 16
SEAL = Seal.drawn(bytes(range(12)))


def seal_of(path: Path) -> Seal:
    header = decode_header(path.read_bytes())
    assert header is not None
    return header.seal


def copied(path: Path, offset: int) -> bytes:
    """All that is in the log so far, as somebody would have it who can read the file."""
    return path.read_bytes()[HEADER_BYTES:].rstrip(b"\0")


def guessed(path: Path, offset: int) -> bytes:
    """A frame with the right beginning in the right place, by one who does not know the salt."""
    return encode_frame([b"forged"], 0, Seal(seal_of(path).mark, bytes(8)), offset)[0]


def of_version_1(path: Path, offset: int) -> bytes:
    return encode_frame([b"forged"], 0, Seal(b"\xf5WAL", b""), offset)[0]


@pytest.mark.parametrize("forge", [copied, guessed, of_version_1])
def test_a_torn_entry_full_of_frames_is_cut_off(tmp_path: Path, forge) -> None:
    log = open_log(tmp_path, segment_bytes=LARGE)
    write(log, run(1, 3))
    write(log, run(4, 6))
    path = tmp_path / FIRST
    start = len(path.read_bytes().rstrip(b"\0"))
    # With sectors of its own, so that it stays when what is before it is lost.
    plain = entry(7, data=b"\x77" * 1800)
    place = encode_frame(encode_record(None, [plain]), 0, SEAL, 0)[0].index(plain.data) + 600
    forged = forge(path, start + place)
    write(log, [entry(7, data=b"\x77" * 600 + forged.ljust(1200, b"\x77"))])
    assert path.read_bytes().rfind(forged) == start + place
    log.close()
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    parts = sectors(start, end - start)
    assert len(parts) > 2
    for missing in itertools.chain(
        ([part] for part in parts), (parts[:count] for count in range(1, len(parts) + 1))
    ):
        torn = bytearray(whole)
        for first, stop in missing:
            torn[first:stop] = bytes(stop - first)
        path.write_bytes(torn)
        assert reopened(tmp_path) == run(1, 6)


def reopened(folder: Path) -> list[Entry]:
    log = open_log(folder, segment_bytes=LARGE)
    try:
        return content(log)
    finally:
        log.close()


def test_damage_before_a_record_that_is_damaged_too_is_no_torn_tail(tmp_path: Path) -> None:
    # That a later one was begun says that the one before it was durable.
    log = open_log(tmp_path)
    write(log, run(1, 3))
    path = tmp_path / FIRST
    second = len(path.read_bytes().rstrip(b"\0"))
    write(log, run(4, 6))
    log.close()
    whole = path.read_bytes()
    for damaged in (HEADER_BYTES, HEADER_BYTES + 30):  # the first one's head, and its content
        changed = bytearray(whole)
        changed[damaged] = 0
        changed[second + 30 :] = bytes(len(changed) - second - 30)
        path.write_bytes(changed)
        with pytest.raises(LogDamaged) as caught:
            open_log(tmp_path)
        assert caught.value.offset == HEADER_BYTES


def test_what_was_begun_behind_a_record_needs_no_head_to_be_seen() -> None:
    # The length of the damaged one can be believed, and behind it there was nothing but zeros.
    frame, _ = encode_frame([b"x" * 50], 0, SEAL, 0)
    damaged = frame[:30] + b"?" + frame[31:]
    assert frame_follows(damaged + bytes(100), 0, SEAL) is None
    assert frame_follows(damaged, 0, SEAL) is None
    assert frame_follows(damaged + bytes(60) + b"\1" + bytes(39), 0, SEAL) == len(frame)


def test_a_seal_has_no_zero_where_a_record_begins() -> None:
    assert Seal.drawn(bytes(12)).mark == b"\xf5" * 4
    assert Seal.drawn(b"ABCD12345678") == Seal(b"ABCD", b"12345678")


def test_each_segment_has_a_seal_of_its_own(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for index in range(1, 10):
        write(log, [entry(index, data=bytes(1000))])
    log.close()
    seals = [seal_of(path) for path in sorted(tmp_path.glob("*.wal"))]
    assert len(seals) >= 3
    assert len(set(seals)) == len(seals)


@pytest.mark.parametrize("size", [600, 1 << 18, (1 << 18) + 7, 3 << 18])
def test_what_is_full_of_zeros_has_no_sector_of_them_on_the_disk(size: int) -> None:
    payload = b"before" + bytes(size) + b"behind"
    frame, crc = encode_frame([payload[:9], payload[9:]], 7, SEAL, 0)
    assert bytes(64) not in frame
    assert read_frame(frame, 0, SEAL) == (payload, 7, crc)


def test_how_it_is_veiled_is_part_of_the_format() -> None:
    frame, _ = encode_frame([bytes(600)], 7, SEAL, 0)
    assert zlib.crc32(frame) == 3713626550


def test_nothing_else_is_veiled() -> None:
    frame, _ = encode_frame([b"x", bytes(511), b"x"], 7, SEAL, 0)
    assert bytes(511) in frame
    old = replace(SEAL, veils=False)
    frame, _ = encode_frame([bytes(600)], 7, old, 0)
    assert bytes(600) in frame, "a segment of an earlier version stays one"
    veiled, _ = encode_frame([bytes(600)], 7, SEAL, 0)
    assert read_frame(veiled, 0, old) is None
