"""Commands and verdicts as bytes: protobuf around rows that are MessagePack.

An entry means the same on every node or it means nothing: what this version does not know (a new
field, a new kind) is refused, never skipped, since a node that skips it would differ from its peers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from raftdjango.writeset import entry_pb2 as pb
from raftdjango.writeset import operations, reads
from raftdjango.writeset.errors import MalformedCommand
from raftdjango.writeset.parts import (
    Barrier,
    BindIncarnation,
    Body,
    Command,
    FormCluster,
    KeyLease,
    MigrationLock,
    Table,
    Verdict,
    VerdictKind,
    WriteSet,
)
from raftdjango.writeset.rows import INTEGER_MAX, pack_row, unpack_row

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

PROPOSAL_ID_BYTES_MAX = 64
LATELY_BYTES_MAX, LATELY_COUNT_MAX = 4 * 1024, 512
"""Commands remembered, a few megabytes at most."""
LARGE_BYTES = 256 * 1024
"""From here on it is quicker to look at each part of a message than to ask for its size, for which
all of it is encoded in one go that no other thread can interrupt."""
PLAIN_BYTES_MAX = 13
"""Bytes of a verdict that is no more than a kind and a row count."""


def encode_command(command: Command) -> bytes:
    """The bytes of a log entry's command."""
    if not 0 < len(command.proposal_id) <= PROPOSAL_ID_BYTES_MAX:
        raise ValueError(f"A proposal id has 1 to {PROPOSAL_ID_BYTES_MAX} bytes.")
    message = pb.Command(proposal_id=command.proposal_id, expires_at_ms=command.expires_at_ms)
    _encode_body(command.body, message)
    return message.SerializeToString(deterministic=True)


def decode_command(data: bytes) -> Command:
    """The command in a log entry; raises `MalformedCommand`.

    A small one that was decoded a moment ago is the same object again: a node decodes what its
    workers propose before it gets into the log, and once more to apply it.
    """
    return _decode_lately(bytes(data)) if len(data) <= LATELY_BYTES_MAX else _decode(data)


def _decode(data: bytes) -> Command:
    message = _parse(pb.Command, data, "command")
    proposal_id = message.proposal_id
    if not 0 < len(proposal_id) <= PROPOSAL_ID_BYTES_MAX:
        raise MalformedCommand(f"A proposal id has {len(proposal_id)} bytes.")
    if message.expires_at_ms > INTEGER_MAX:
        raise MalformedCommand("A command expires beyond the end of time.")
    kind = message.WhichOneof("body")
    if kind == "write_set":
        return Command(proposal_id, message.expires_at_ms, _decode_write_set(message.write_set))
    return Command(proposal_id, message.expires_at_ms, _decode_other(kind, message))


_decode_lately = lru_cache(maxsize=LATELY_COUNT_MAX)(_decode)
"""Keyed by all of the bytes, so what it gives is what decoding them gives: commands cannot change."""


def _parse(kind: type[M], data: bytes, what: str) -> M:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise MalformedCommand(f"These {len(data)} bytes are no {what}.") from None
    if _has_unknown(message, len(data)):
        # Which field it is is looked for only now.
        unknown: Any = UnknownFieldSet(kind.FromString(data))
        numbers = sorted({field.field_number for field in unknown})
        where = f"field {numbers[0]}" if numbers else "a field of one of its parts"
        raise MalformedCommand(
            f"The {what} has something that this version of raftdjango does not know ({where}). "
            "Was it written by a newer version? Upgrade this node."
        )
    return message


def _has_unknown(message: Message, length: int) -> bool:
    """Is there something that this version does not know?  If so, it may be gone afterwards."""
    if length >= LARGE_BYTES:
        return _part_has_unknown(message)
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return message.ByteSize() != size


def _part_has_unknown(message: Message) -> bool:
    if len(UnknownFieldSet(message)):
        return True
    for name, is_one in _parts_of(message.DESCRIPTOR):
        if is_one:
            if message.HasField(name) and _part_has_unknown(getattr(message, name)):
                return True
        elif any(map(_part_has_unknown, getattr(message, name))):
            return True
    return False


@lru_cache(maxsize=64)
def _parts_of(kind: Descriptor) -> tuple[tuple[str, bool], ...]:
    """Fields that are messages themselves, and whether there is one at most."""
    return tuple(
        (field.name, field.has_presence)
        for field in kind.fields
        if field.message_type is not None and not field.message_type.GetOptions().map_entry
    )


def _encode_body(body: Body, message: pb.Command) -> None:
    if isinstance(body, WriteSet):
        _encode_write_set(body, message.write_set)
    elif isinstance(body, KeyLease):
        message.key_lease.table = body.table
        message.key_lease.count = body.count
    elif isinstance(body, Barrier):
        message.barrier.SetInParent()
    elif isinstance(body, FormCluster):
        form = message.form_cluster
        form.SetInParent()
        form.cluster_id, form.group = body.cluster_id, body.group
        form.nodes.update(dict(body.nodes))
    elif isinstance(body, BindIncarnation):
        bind = message.bind_incarnation
        bind.SetInParent()
        bind.node_id, bind.incarnation = body.node_id, body.incarnation
    elif isinstance(body, MigrationLock):
        lock = message.migration_lock
        lock.SetInParent()
        lock.holder, lock.until_ms = body.holder, body.until_ms
        lock.release, lock.renew = body.release, body.renew


def _decode_other(kind: str | None, message: pb.Command) -> Body:
    if kind == "key_lease":
        lease = message.key_lease
        if not (lease.table and 0 < lease.count <= INTEGER_MAX):
            raise MalformedCommand("A key lease names no table or no keys.")
        return KeyLease(lease.table, lease.count)
    if kind == "barrier":
        return Barrier()
    if kind == "form_cluster":
        form = message.form_cluster
        return FormCluster(form.cluster_id, form.group, tuple(sorted(form.nodes.items())))
    if kind == "bind_incarnation":
        bind = message.bind_incarnation
        return BindIncarnation(bind.node_id, bind.incarnation)
    if kind == "migration_lock":
        lock = message.migration_lock
        if lock.until_ms > INTEGER_MAX:
            raise MalformedCommand("A migration lock lasts beyond the end of time.")
        return MigrationLock(lock.holder, lock.until_ms, lock.release, lock.renew)
    raise MalformedCommand("The command has no body that this version of raftdjango knows.")


@lru_cache(maxsize=1024)
def _table_message(table: Table) -> pb.Table:
    return pb.Table(name=table.name, columns=table.columns, key=table.key)


def _encode_write_set(write_set: WriteSet, message: pb.WriteSet) -> None:
    message.SetInParent()
    message.schema_version = write_set.schema_version
    message.foreign_keys_off = write_set.foreign_keys_off
    message.expected_digest = write_set.expected_digest
    message.fence = write_set.fence
    positions: dict[Table, int] = {}
    for operation in write_set.operations:
        table = getattr(operation, "table", None)
        position = 0
        if table is not None:
            known = positions.get(table)
            if known is None:
                known = positions[table] = len(positions)
                message.tables.append(_table_message(table))
            position = known
        operations.encode(operation, message.operations.add(table=position))
    if write_set.reads is not None:
        reads.encode(write_set.reads, message.reads)


@lru_cache(maxsize=4096)
def _table(data: bytes) -> Table:
    """One object per table, read and checked once."""
    message = pb.Table.FromString(data)
    name, columns, key = message.name, tuple(message.columns), tuple(message.key)
    if not name or not columns or not key:
        raise MalformedCommand(f"The table {name!r} comes without columns or without a key.")
    if len(set(key)) != len(key) or max(key) >= len(columns):
        raise MalformedCommand(f"The key of the table {name!r} is not among its columns.")
    if len({column.lower() for column in columns}) != len(columns):
        raise MalformedCommand(f"The table {name!r} names a column twice.")
    return Table(name, columns, key)


def _decode_write_set(message: pb.WriteSet) -> WriteSet:
    if message.schema_version > INTEGER_MAX:
        raise MalformedCommand("A schema version is no log index.")
    tables = [_table(table.SerializeToString()) for table in message.tables]
    return WriteSet(
        message.schema_version,
        tuple([operations.decode(operation, tables) for operation in message.operations]),
        message.foreign_keys_off,
        message.expected_digest,
        reads.decode(message.reads) if message.HasField("reads") else None,
        message.fence,
    )


@lru_cache(maxsize=256)
def _plain(kind: VerdictKind, row_count: int) -> bytes:
    """Nearly all verdicts are one of these."""
    message = pb.Verdict(kind=int(kind), row_count=row_count)  # type: ignore[arg-type]
    return message.SerializeToString(deterministic=True)


def encode_verdict(verdict: Verdict) -> bytes:
    """The bytes of a verdict, as stored by proposal id and as answered."""
    if not (verdict.message or verdict.rows or verdict.table or verdict.key) and not (
        verdict.first_key or verdict.granted
    ):
        return _plain(verdict.kind, verdict.row_count)
    return pb.Verdict(
        kind=int(verdict.kind),  # type: ignore[arg-type]
        table=verdict.table,
        key=pack_row(verdict.key) if verdict.key else b"",
        message=verdict.message,
        row_count=verdict.row_count,
        rows=[pack_row(row) for row in verdict.rows],
        first_key=verdict.first_key,
        granted=verdict.granted,
    ).SerializeToString(deterministic=True)


def decode_verdict(data: bytes) -> Verdict:
    """The verdict in these bytes; raises `MalformedCommand`."""
    return _decode_plain(data) if len(data) <= PLAIN_BYTES_MAX else _decode_verdict(data)


@lru_cache(maxsize=256)
def _decode_plain(data: bytes) -> Verdict:
    """Nearly all verdicts are one of few: a kind and a row count."""
    return _decode_verdict(data)


def _decode_verdict(data: bytes) -> Verdict:
    message: Any = _parse(pb.Verdict, data, "verdict")
    try:
        kind = VerdictKind(message.kind)
    except ValueError:
        raise MalformedCommand(f"A verdict of kind {message.kind} is unknown here.") from None
    return Verdict(
        kind,
        message.table,
        unpack_row(message.key) if message.key else (),
        message.message,
        message.row_count,
        tuple([unpack_row(row) for row in message.rows]),
        message.first_key,
        message.granted,
    )
