"""The reads of a serializable transaction to and from their protobuf message."""

from __future__ import annotations

from raftdjango.writeset import entry_pb2 as pb
from raftdjango.writeset.errors import MalformedCommand
from raftdjango.writeset.parts import Query, Reads
from raftdjango.writeset.repeatable import repeatable
from raftdjango.writeset.rows import (
    COLUMNS_MAX,
    DIGEST_BYTES,
    INTEGER_MAX,
    PARAMETERS_MAX,
    pack_row,
    unpack_row,
)


def encode(reads: Reads, message: pb.Reads) -> None:
    """Fill in the message."""
    message.SetInParent()
    message.log_index = reads.log_index
    message.tables.extend(reads.tables)
    for query in reads.queries:
        message.queries.add(
            sql=query.sql,
            parameters=pack_row(query.parameters),
            columns=query.columns,
            row_count=query.row_count,
            digest=query.digest,
            tables=query.tables,
        )


def decode(message: pb.Reads) -> Reads:
    """The reads in the message; raises `MalformedCommand`."""
    if message.log_index > INTEGER_MAX:
        raise MalformedCommand("Reads are of a snapshot that is no log index.")
    queries = tuple([_decode_query(query) for query in message.queries])
    return Reads(message.log_index, tuple(message.tables), queries)


def _decode_query(message: pb.Query) -> Query:
    if repeatable(message.sql) is None:
        # A node that did not know the query could come to another verdict than its peers.
        raise MalformedCommand(
            "A query of a serializable transaction is none that this version of raftdjango repeats. "
            "Was it written by a newer version? Upgrade this node."
        )
    if not 0 < message.columns <= COLUMNS_MAX:
        raise MalformedCommand(f"A query gives {message.columns} columns.")
    if message.row_count > INTEGER_MAX or len(message.digest) != DIGEST_BYTES:
        raise MalformedCommand("The result of a query is not named as it should be.")
    tables = tuple(message.tables)
    if not tables or "" in tables:
        raise MalformedCommand("A query comes without the tables that it reads.")
    return Query(
        message.sql,
        unpack_row(message.parameters, PARAMETERS_MAX),
        message.columns,
        message.row_count,
        message.digest,
        tables,
    )
