"""The log on disk: records, frames, headers, and whole folders of segments."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from raftcore.storage import LogDamaged, LogVersionUnknown
from raftcore.storage.record import (
    decode_record,
    encode_record,
    record_entries,
    record_hard_state,
)
from raftcore.storage.segment import (
    HEADER_BYTES,
    Header,
    Seal,
    decode_header,
    encode_frame,
    frame_follows,
    looks_torn,
    read_frame,
)
from raftcore.types import Entry, EntryKind, HardState
from tests.fuzz.material import damaged, frugal, numbers, seeded
from tests.storage.logs import content, entry, files, open_log, write

entries = st.lists(
    st.builds(
        Entry,
        st.integers(1, 1 << 40),
        numbers,
        st.sampled_from(EntryKind),
        numbers,
        st.binary(max_size=40),
    ),
    max_size=5,
)
states = st.one_of(
    st.none(), st.builds(HardState, numbers, st.one_of(st.none(), st.text(max_size=20)))
)
records = st.builds(encode_record, states, entries).map(b"".join)
SEAL = Seal.drawn(bytes(range(12)))
headers = st.builds(
    Header,
    numbers,
    numbers,
    st.integers(0, 2**32 - 1),
    st.binary(min_size=12, max_size=12).map(Seal.drawn),
)


@seeded
@given(st.one_of(st.binary(max_size=300), damaged(records)))
def test_a_record_is_one_or_a_value_error(data):
    try:
        record = frugal(decode_record, data)
    except ValueError:
        return
    assert len(list(record_entries(record, 0, 1 << 60))) == len(record.terms)
    record_hard_state(record)


@seeded
@given(
    st.one_of(
        st.binary(max_size=200),
        damaged(st.binary(max_size=60).map(lambda payload: encode_frame([payload], 7, SEAL, 0)[0])),
    )
)
def test_a_frame_is_whole_or_none(data):
    for offset in range(min(len(data), 30)):
        frame = read_frame(data, offset, SEAL)
        if frame is not None:
            assert frame[0] in data
    frame_follows(data, 0, SEAL)
    looks_torn(data, 0, SEAL)


@seeded
@given(
    st.one_of(
        st.binary(max_size=2 * HEADER_BYTES),
        damaged(headers.map(Header.encode)),
    )
)
def test_a_header_is_one_or_none(data):
    try:
        decode_header(data)
    except LogVersionUnknown:
        pass


def written(folder: Path) -> list[Entry]:
    """A log of several segments, some of whose entries replace others."""
    log = open_log(folder, segment_bytes=2048)
    for first, term in ((1, 1), (4, 1), (3, 2), (6, 2), (8, 3), (9, 3), (11, 4)):
        batch = [entry(i, term, bytes([term]) * 150) for i in range(first, first + 3)]
        write(log, batch, HardState(term, "n1"))
    log.close()
    return content_of(folder)


def content_of(folder: Path) -> list[Entry]:
    log = open_log(folder, segment_bytes=2048)
    try:
        return content(log)
    finally:
        log.close()


@seeded
@given(st.data())
def test_a_damaged_folder_opens_with_what_was_written_or_is_refused(data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = written(folder)
        segments = sorted(folder.glob("*.wal"))
        assert len(segments) >= 3
        for _ in range(data.draw(st.integers(1, 2))):
            path = data.draw(st.sampled_from(segments))
            path.write_bytes(data.draw(damaged(st.just(path.read_bytes()))))
        before = files(folder)
        try:
            found = content_of(folder)
        except LogDamaged:
            assert files(folder) == before
        except LogVersionUnknown:
            pass
        else:
            # At most a torn tail is gone: every batch that is left stands as it was written.
            terms = [(e.index, e.term, e.data) for e in found]
            assert [e.index for e in found] == list(range(1, len(found) + 1))
            assert all(set(data) == {term} and len(data) == 150 for _, term, data in terms)
            assert whole[: len(found)] == found or len(found) < len(whole)


@seeded
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=3))
def test_a_folder_of_garbage_is_refused_or_empty(contents):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, garbage in enumerate(contents, 1):
            (folder / f"{number:016d}.wal").write_bytes(garbage)
        try:
            found = content_of(folder)
        except (LogDamaged, LogVersionUnknown):
            return
        assert found == []


def test_a_frame_that_claims_to_be_long_costs_nothing():
    frame = bytearray(encode_frame([b"x" * 50], 0, SEAL, 0)[0])
    frame[4:8] = b"\xff\xff\xff\x7f"
    assert frugal(lambda data: read_frame(data, 0, SEAL), bytes(frame)) is None
    assert frugal(lambda data: frame_follows(data, 0, SEAL), bytes(frame)) is None
