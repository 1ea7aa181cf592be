"""A log entry's data: its parts and its codec.  Knows neither Django nor a database.

What is here is shared by the side that writes entries (`raftdjango.backends`) and the side that
applies them (`raftdjango.applier`).
"""

from __future__ import annotations

from raftdjango.writeset.codec import (
    decode_command,
    decode_verdict,
    encode_command,
    encode_verdict,
)
from raftdjango.writeset.digests import expected_digest, tables_digest, user_tables
from raftdjango.writeset.errors import MalformedCommand
from raftdjango.writeset.parts import (
    Barrier,
    BindIncarnation,
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Body,
    Command,
    Delete,
    FormCluster,
    Insert,
    KeyLease,
    MigrationLock,
    Operation,
    Pins,
    Query,
    Reads,
    Row,
    Statement,
    Table,
    Update,
    ValidatedRead,
    Value,
    Verdict,
    VerdictKind,
    WriteSet,
)
from raftdjango.writeset.pinning import Pinning, unpinnable
from raftdjango.writeset.repeatable import (
    Repeatable,
    may_be_parameters,
    repeatable,
    rows_digest,
    storage_sql,
)
from raftdjango.writeset.rows import pack_row, row_digest, storage_row, unpack_row

__all__ = [
    "Barrier",
    "BindIncarnation",
    "BlindDelete",
    "BlindInsert",
    "BlindUpdate",
    "Body",
    "Command",
    "Delete",
    "FormCluster",
    "Insert",
    "KeyLease",
    "MalformedCommand",
    "MigrationLock",
    "Operation",
    "Pinning",
    "Pins",
    "Query",
    "Reads",
    "Repeatable",
    "Row",
    "Statement",
    "Table",
    "Update",
    "ValidatedRead",
    "Value",
    "Verdict",
    "VerdictKind",
    "WriteSet",
    "decode_command",
    "decode_verdict",
    "encode_command",
    "encode_verdict",
    "expected_digest",
    "may_be_parameters",
    "pack_row",
    "repeatable",
    "row_digest",
    "rows_digest",
    "storage_row",
    "storage_sql",
    "tables_digest",
    "unpack_row",
    "unpinnable",
    "user_tables",
]
