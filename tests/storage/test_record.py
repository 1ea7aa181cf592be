"""Records: what stands in them is the same, however their bytes are made."""

from __future__ import annotations

import pytest

from raftcore.storage import record as record_module
from raftcore.storage.record import (
    LARGE_BYTES,
    decode_record,
    encode_record,
    record_entries,
    record_hard_state,
)
from raftcore.types import Entry, EntryKind, HardState

LENGTHS = ([0], [1, 0, 127, 128], [16383, 16384, 2], [LARGE_BYTES], [3, LARGE_BYTES + 1, 0])


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("hard_state", [None, HardState(7, "n1"), HardState(0, None)])
def test_pieces_are_the_bytes_of_the_serializer(lengths, hard_state, monkeypatch):
    entries = [
        Entry(5 + n, 3, EntryKind.COMMAND, 1000 + n, bytes([n + 1]) * length)
        for n, length in enumerate(lengths)
    ]
    monkeypatch.setattr(record_module, "LARGE_BYTES", max(lengths) + 1)
    (whole,) = encode_record(hard_state, entries)
    monkeypatch.setattr(record_module, "LARGE_BYTES", max(lengths))
    pieces = encode_record(hard_state, entries)
    assert b"".join(pieces) == whole
    assert all(any(entry.data is piece for piece in pieces) for entry in entries)
    record = decode_record(b"".join(pieces))
    assert list(record_entries(record, 0, len(entries))) == entries
    assert record_hard_state(record) == hard_state
