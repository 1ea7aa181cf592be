"""One operation of a write-set to and from its protobuf message."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from raftdjango.writeset import entry_pb2 as pb
from raftdjango.writeset.errors import MalformedCommand
from raftdjango.writeset.parts import (
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Delete,
    Insert,
    Operation,
    Pins,
    Statement,
    Table,
    Update,
    ValidatedRead,
)
from raftdjango.writeset.rows import (
    DIGEST_BYTES,
    INTEGER_MAX,
    PARAMETERS_MAX,
    pack_row,
    unpack_row,
    unpack_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from raftdjango.writeset.parts import Row, Value

# By names of our own, since to ask the generated class costs nearly as much as to encode a row.
INSERT = pb.Operation.INSERT
UPDATE = pb.Operation.UPDATE
DELETE = pb.Operation.DELETE
READ = pb.Operation.READ
STATEMENT = pb.Operation.STATEMENT
BLIND_INSERT = pb.Operation.BLIND_INSERT
BLIND_UPDATE = pb.Operation.BLIND_UPDATE
BLIND_DELETE = pb.Operation.BLIND_DELETE
NOW_LENGTH = len("2026-01-01 00:00:00.000")


def encode(operation: Operation, message: pb.Operation) -> None:
    """Fill in everything but the table's position."""
    _ENCODERS[type(operation)](operation, message)


def decode(message: pb.Operation, tables: Sequence[Table]) -> Operation:
    """The operation in the message; raises `MalformedCommand`."""
    kind = message.kind
    if kind == STATEMENT:
        return _decode_statement(message)
    if message.table >= len(tables):
        raise MalformedCommand("An operation names a table that the write-set does not list.")
    table = tables[message.table]
    if kind == INSERT:
        row = unpack_row(message.new, len(table.columns))
        if len(row) != len(table.columns):
            raise MalformedCommand(f"A row of {table.name!r} has {len(row)} values.")
        return Insert(table, row)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise MalformedCommand(
            f"An operation of kind {kind} is unknown to this version of raftdjango. "
            "Was it written by a newer version? Upgrade this node."
        )
    return decoder(message, table)


# Encoding ---------------------------------------------------------------------------------------


def _encode_insert(operation: Insert, message: pb.Operation) -> None:
    message.kind = INSERT
    if len(operation.row) != len(operation.table.columns):
        raise ValueError(f"A row of {operation.table.name!r} has {len(operation.row)} values.")
    message.new = pack_row(operation.row)


def _encode_changes(changes: tuple[tuple[int, Value], ...], message: pb.Operation) -> None:
    message.columns.extend([position for position, _ in changes])
    message.new = pack_row([value for _, value in changes])


def _encode_update(operation: Update, message: pb.Operation) -> None:
    message.kind = UPDATE
    message.key = pack_row(operation.key)
    message.before = operation.before
    if operation.changes:
        _encode_changes(operation.changes, message)


def _encode_delete(operation: Delete, message: pb.Operation) -> None:
    message.kind = DELETE
    message.key = pack_row(operation.key)
    message.before = operation.before


def _encode_read(operation: ValidatedRead, message: pb.Operation) -> None:
    message.kind = READ
    message.key = pack_row(operation.key)
    message.before = operation.before


def _encode_statement(operation: Statement, message: pb.Operation) -> None:
    message.kind = STATEMENT
    message.sql = operation.sql
    message.parameters = pack_row(operation.parameters)
    message.pins.random_seed = operation.pins.random_seed
    message.pins.now = operation.pins.now


def _encode_blind_insert(operation: BlindInsert, message: pb.Operation) -> None:
    message.kind = BLIND_INSERT
    message.columns.extend(operation.columns)
    message.new = pack_row(operation.values)
    message.returning.extend(operation.returning)
    message.returning_names.extend(operation.returning_names)
    if operation.expected_rows is not None:
        message.expected_rows = operation.expected_rows


def _encode_blind_update(operation: BlindUpdate, message: pb.Operation) -> None:
    message.kind = BLIND_UPDATE
    message.key = b"".join(map(pack_row, operation.keys))
    _encode_changes(operation.changes, message)
    if operation.expected_rows is not None:
        message.expected_rows = operation.expected_rows


def _encode_blind_delete(operation: BlindDelete, message: pb.Operation) -> None:
    message.kind = BLIND_DELETE
    message.key = b"".join(map(pack_row, operation.keys))
    if operation.expected_rows is not None:
        message.expected_rows = operation.expected_rows


_ENCODERS: dict[type, Callable[..., None]] = {
    Insert: _encode_insert,
    Update: _encode_update,
    Delete: _encode_delete,
    ValidatedRead: _encode_read,
    Statement: _encode_statement,
    BlindInsert: _encode_blind_insert,
    BlindUpdate: _encode_blind_update,
    BlindDelete: _encode_blind_delete,
}


# Decoding ---------------------------------------------------------------------------------------


def _key(message: pb.Operation, table: Table) -> Row:
    key = unpack_row(message.key, len(table.key))
    if len(key) != len(table.key):
        raise MalformedCommand(f"A key of {table.name!r} has {len(key)} values.")
    return key


def _keys(message: pb.Operation, table: Table) -> tuple[Row, ...]:
    keys = unpack_rows(message.key, len(table.key))
    if any(len(key) != len(table.key) for key in keys):
        raise MalformedCommand(f"A key of {table.name!r} has too few values.")
    return keys


def _before(message: pb.Operation, *, may_be_empty: bool = False) -> bytes:
    before = message.before
    if len(before) != DIGEST_BYTES and not (may_be_empty and not before):
        raise MalformedCommand(f"A before-image's digest has {len(before)} bytes.")
    return before


@lru_cache(maxsize=4096)
def _positions(positions: tuple[int, ...], table: Table) -> tuple[int, ...]:
    if positions and (
        max(positions) >= len(table.columns) or len(set(positions)) != len(positions)
    ):
        raise MalformedCommand(f"Columns of {table.name!r} are named twice or do not exist.")
    return positions


def _columns_and_values(message: pb.Operation, table: Table) -> tuple[tuple[int, ...], Row]:
    columns = _positions(tuple(message.columns), table)
    if not columns and not message.new:
        return (), ()
    values = unpack_row(message.new, len(columns))
    if len(values) != len(columns):
        raise MalformedCommand(f"Columns and values of {table.name!r} differ in number.")
    return columns, values


def _changes(message: pb.Operation, table: Table) -> tuple[tuple[int, Value], ...]:
    return tuple(zip(*_columns_and_values(message, table), strict=True))


def _expected(message: pb.Operation) -> int | None:
    if not message.HasField("expected_rows"):
        return None
    if message.expected_rows > INTEGER_MAX:
        raise MalformedCommand("More rows are expected than a table can have.")
    return message.expected_rows


def _decode_update(message: pb.Operation, table: Table) -> Update:
    return Update(table, _key(message, table), _before(message), _changes(message, table))


def _decode_delete(message: pb.Operation, table: Table) -> Delete:
    return Delete(table, _key(message, table), _before(message))


def _decode_read(message: pb.Operation, table: Table) -> ValidatedRead:
    return ValidatedRead(table, _key(message, table), _before(message, may_be_empty=True))


def _decode_statement(message: pb.Operation) -> Statement:
    pins = Pins(message.pins.random_seed, message.pins.now)
    if not message.sql or len(pins.now) != NOW_LENGTH:
        raise MalformedCommand("A statement has no SQL, or nothing that pins its time.")
    return Statement(message.sql, unpack_row(message.parameters, PARAMETERS_MAX), pins)


def _decode_blind_insert(message: pb.Operation, table: Table) -> BlindInsert:
    columns, values = _columns_and_values(message, table)
    returning = tuple(message.returning)
    return BlindInsert(
        table,
        columns,
        values,
        _positions(returning, table) if returning else (),
        tuple(message.returning_names),
        _expected(message),
    )


def _decode_blind_update(message: pb.Operation, table: Table) -> BlindUpdate:
    changes = _changes(message, table)
    if not changes:
        raise MalformedCommand(f"A blind update of {table.name!r} changes nothing.")
    return BlindUpdate(table, _keys(message, table), changes, _expected(message))


def _decode_blind_delete(message: pb.Operation, table: Table) -> BlindDelete:
    return BlindDelete(table, _keys(message, table), _expected(message))


_DECODERS: dict[int, Callable[[pb.Operation, Table], Operation]] = {
    UPDATE: _decode_update,
    DELETE: _decode_delete,
    READ: _decode_read,
    BLIND_INSERT: _decode_blind_insert,
    BLIND_UPDATE: _decode_blind_update,
    BLIND_DELETE: _decode_blind_delete,
}
