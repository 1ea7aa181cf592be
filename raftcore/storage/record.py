"""Between entries and the records that frames carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice

from google.protobuf.message import DecodeError

from raftcore.storage import record_pb2
from raftcore.types import Entry, EntryKind, HardState

_KINDS = {int(kind): kind for kind in EntryKind}
_KNOWN_KINDS = bytes(_KINDS)


LARGE_BYTES = 256 * 1024
_DATA_TAG = bytes([record_pb2.Record.DATA_FIELD_NUMBER << 3 | 2])


def encode_record(hard_state: HardState | None, entries: Sequence[Entry]) -> list[bytes]:
    """A record of a run of entries, with the hard state where one is given; in pieces.

    Data that is long is a piece of its own: the serializer would copy it more than once, and keep
    the interpreter from everybody else meanwhile.
    """
    large = any(len(entry.data) >= LARGE_BYTES for entry in entries)
    record = record_pb2.Record(
        first_index=entries[0].index if entries else 0,
        terms=[entry.term for entry in entries],
        times_ms=[entry.time_ms for entry in entries],
        kinds=bytes([entry.kind for entry in entries]),
        data=() if large else [entry.data for entry in entries],
    )
    if hard_state is not None:
        record.hard_state.CopyFrom(hard_state_out(hard_state))
    pieces = [record.SerializeToString()]
    if large:
        # Messages one behind the other are one message; `data` is the last of its fields anyway.
        for entry in entries:
            pieces += (_DATA_TAG + _varint(len(entry.data)), entry.data)
    return pieces


def _varint(number: int) -> bytes:
    """As protobuf encodes lengths."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def decode_record(payload: bytes) -> record_pb2.Record:
    """Read a record; raises `ValueError` if it is none, or if its columns disagree."""
    try:
        record = record_pb2.Record.FromString(payload)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    length = len(record.terms)
    if not len(record.times_ms) == len(record.kinds) == len(record.data) == length:
        raise ValueError("columns of different lengths")
    if record.kinds.translate(None, _KNOWN_KINDS):
        raise ValueError("an entry of a kind that this program does not know")
    return record


def record_hard_state(record: record_pb2.Record) -> HardState | None:
    """The hard state in a record, if it has one."""
    return hard_state_in(record.hard_state) if record.HasField("hard_state") else None


def hard_state_out(hard_state: HardState) -> record_pb2.HardState:
    """A hard state as it is stored; no vote differs from a vote for nobody."""
    return record_pb2.HardState(
        current_term=hard_state.current_term, voted_for=hard_state.voted_for
    )


def hard_state_in(stored: record_pb2.HardState) -> HardState:
    return HardState(
        stored.current_term, stored.voted_for if stored.HasField("voted_for") else None
    )


def record_entries(record: record_pb2.Record, skip: int, wanted: int) -> Iterator[Entry]:
    """Up to `wanted` entries of a record, leaving out the first `skip`."""
    rows = zip(
        count(record.first_index),
        record.terms,
        record.kinds,
        record.times_ms,
        record.data,
        strict=False,
    )
    for index, term, kind, time_ms, data in islice(rows, skip, skip + wanted):
        yield Entry(index, term, _KINDS[kind], time_ms, data)
