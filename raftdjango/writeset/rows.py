"""Rows as bytes: MessagePack arrays of SQLite storage classes, and their digests.

Everything read here may come from another machine, so sizes are bounded before memory is taken.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]

from raftdjango.writeset.errors import MalformedCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftdjango.writeset.parts import Row, Value

COLUMNS_MAX = 32_767
"""SQLite's own upper limit of columns in a table."""
PARAMETERS_MAX = 250_000
"""As many as any SQLite in use takes."""
DIGEST_BYTES = 16
INTEGER_MAX = 2**63 - 1

_STORAGE = frozenset({type(None), int, float, str, bytes})
_UNPACK_ERRORS = (ValueError, TypeError, RecursionError, msgpack.UnpackException)
_UINT64 = b"\xcf"
"""How MessagePack marks integers beyond SQLite's; without this byte there is none to look for."""


def _storage(value: Any) -> Value:
    """What SQLite would store for a value whose type is a near miss (a bool, a str subclass)."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if value is None:
        return None
    raise TypeError(f"{type(value).__name__} is no SQLite storage class; adapt the value first.")


def storage_row(row: Sequence[Any]) -> Row:
    """The row with every value as exactly one of the storage classes."""
    if _STORAGE.issuperset(map(type, row)):
        return tuple(row)
    return tuple(map(_storage, row))


def pack_row(row: Sequence[Value]) -> bytes:
    """A row as a MessagePack array."""
    if not _STORAGE.issuperset(map(type, row)):
        row = storage_row(row)
    packed: bytes = msgpack.packb(row)
    if _UINT64 in packed and _too_large(row):
        raise OverflowError("An integer does not fit into 64 bits.")
    return packed


def unpack_row(data: bytes, columns_max: int = COLUMNS_MAX) -> Row:
    """The row that `pack_row` packed; raises `MalformedCommand`."""
    try:
        # The limits keep a few hostile bytes from reserving gigabytes: nested arrays are read,
        # and refused below, but none is longer than the row itself may be.
        row = msgpack.unpackb(
            data,
            use_list=False,
            max_array_len=columns_max,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=len(data),
            max_bin_len=len(data),
        )
    except _UNPACK_ERRORS as error:
        raise MalformedCommand(f"A row is not a MessagePack array: {error!r}.") from None
    return _checked(row, data)


def unpack_rows(data: bytes, columns_max: int) -> tuple[Row, ...]:
    """Rows packed one after the other, with nothing between or behind them."""
    unpacker = msgpack.Unpacker(
        use_list=False,
        max_buffer_size=max(len(data), 1),
        max_array_len=columns_max,
        max_map_len=0,
        max_ext_len=0,
    )
    rows: list[Row] = []
    end = 0
    try:
        unpacker.feed(data)
        for row in unpacker:
            rows.append(_checked(row, data))
            end = unpacker.tell()
    except _UNPACK_ERRORS as error:
        raise MalformedCommand(f"Rows are not MessagePack arrays: {error!r}.") from None
    if end != len(data):
        raise MalformedCommand("Rows end in the middle of one.")
    return tuple(rows)


def _too_large(row: Sequence[Any]) -> bool:
    return any(type(value) is int and value > INTEGER_MAX for value in row)


def _checked(unpacked: Any, data: bytes) -> Row:
    if type(unpacked) is not tuple:
        raise MalformedCommand("A row is not an array.")
    row: Row = unpacked
    if not _STORAGE.issuperset(map(type, row)):
        raise MalformedCommand("A row holds a value that is no SQLite storage class.")
    if _UINT64 in data and _too_large(row):
        raise MalformedCommand("An integer in a row does not fit into 64 bits.")
    return row


def row_digest(row: Sequence[Value]) -> bytes:
    """Names a whole row's content in 16 bytes: equal digests, equal storage values."""
    return blake2b(pack_row(row), digest_size=DIGEST_BYTES).digest()
