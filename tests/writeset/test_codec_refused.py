"""What is not understood, or makes no sense, is refused and not skipped."""

from __future__ import annotations

import pytest

from raftdjango.writeset import (
    Barrier,
    Command,
    Insert,
    MalformedCommand,
    Table,
    WriteSet,
    codec,
    decode_command,
    decode_verdict,
    encode_command,
)
from raftdjango.writeset import entry_pb2 as pb
from raftdjango.writeset.codec import LARGE_BYTES, LATELY_BYTES_MAX

T = Table("t", ("a", "b"), (0,))


def _message(*, kind=1, **fields):
    message = pb.Command(proposal_id=b"1")
    message.write_set.tables.add(name="t", columns=["a", "b"], key=[0])
    message.write_set.operations.add(kind=kind, **fields)
    return message


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"kind": 1, "new": b"\x91\x01"}, "row of 't' has 1 values"),
        ({"kind": 1, "new": b"\x92\x01\xc3"}, "no SQLite storage class"),
        ({"kind": 1, "new": b"\x92\x01\x80"}, "no SQLite storage class|not a MessagePack"),
        ({"kind": 1, "new": b"\x92\x01\xcf" + b"\xff" * 8}, "64 bits"),
        ({"kind": 1, "new": b"\x01"}, "not an array"),
        ({"kind": 1, "new": b"\x92\x01\x02\x03"}, "not a MessagePack array"),
        ({"kind": 1, "new": b"\x92\x01\xa1\xff"}, "not a MessagePack array"),
        ({"kind": 1, "table": 1, "new": b"\x92\x01\x01"}, "does not list"),
        ({"kind": 2, "key": b"\x91\x01", "before": b"short"}, "has 5 bytes"),
        ({"kind": 2, "key": b"\x90", "before": b"x" * 16}, "key of 't' has 0"),
        (
            {
                "kind": 2,
                "key": b"\x91\x01",
                "before": b"x" * 16,
                "columns": [2],
                "new": b"\x91\x01",
            },
            "do not exist",
        ),
        (
            {
                "kind": 2,
                "key": b"\x91\x01",
                "before": b"x" * 16,
                "columns": [1, 1],
                "new": b"\x92\x01\x01",
            },
            "named twice",
        ),
        ({"kind": 3, "key": b"\x91\x01"}, "has 0 bytes"),
        ({"kind": 5, "sql": "SELECT 1"}, "pins"),
        ({"kind": 5, "pins": pb.Pins(now="x" * 23)}, "no SQL"),
        ({"kind": 7, "key": b"\x91\x01"}, "changes nothing"),
        ({"kind": 8, "key": b"\x91\x01\x91"}, "middle|not MessagePack"),
        ({"kind": 8, "key": b"\x90"}, "too few"),
        ({"kind": 0}, "kind 0 is unknown"),
        ({"kind": 77}, "kind 77 is unknown.*Upgrade this node"),
    ],
)
def test_what_makes_no_sense_is_malformed(fields, error):
    with pytest.raises(MalformedCommand, match=error):
        decode_command(_message(**fields).SerializeToString())


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ({"columns": ["a"], "key": [0]}, "without columns"),
        ({"name": "t", "key": [0]}, "without columns"),
        ({"name": "t", "columns": ["a"]}, "without a key"),
        ({"name": "t", "columns": ["a"], "key": [1]}, "not among"),
        ({"name": "t", "columns": ["a"], "key": [0, 0]}, "not among"),
        ({"name": "t", "columns": ["a", "A"], "key": [0]}, "twice"),
    ],
)
def test_a_table_must_make_sense(table, error):
    message = pb.Command(proposal_id=b"1")
    message.write_set.tables.add(**table)
    with pytest.raises(MalformedCommand, match=error):
        decode_command(message.SerializeToString())


QUERY = {"sql": "SELECT 1 FROM t", "columns": 1, "parameters": b"\x90", "digest": b"d" * 16}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"sql": "DELETE FROM t"}, "none that this version of raftdjango repeats.*Upgrade"),
        ({"sql": "SELECT random() FROM t"}, "repeats"),
        ({"sql": ""}, "repeats"),
        ({"columns": 0}, "0 columns"),
        ({"columns": 40_000}, "40000 columns"),
        ({"digest": b"d"}, "named"),
        ({"row_count": 2**63}, "named"),
        ({"tables": []}, "without the tables"),
        ({"tables": [""]}, "without the tables"),
        ({"parameters": b""}, "not a MessagePack"),
    ],
)
def test_reads_must_make_sense(fields, error):
    message = pb.Command(proposal_id=b"1")
    message.write_set.reads.queries.add(**{"tables": ["t"], **QUERY, **fields})
    with pytest.raises(MalformedCommand, match=error):
        decode_command(message.SerializeToString())


def test_reads_are_of_a_log_index():
    message = pb.Command(proposal_id=b"1")
    message.write_set.reads.log_index = 2**63
    with pytest.raises(MalformedCommand, match="no log index"):
        decode_command(message.SerializeToString())


def _unknown_field(message: object, number: int = 99) -> bytes:
    """The message with a field added that this version does not have."""
    return message.SerializeToString() + bytes([*_varint(number << 3), 1])  # type: ignore[attr-defined]


def _varint(number: int) -> list[int]:
    return [number & 0x7F | 0x80, number >> 7] if number > 0x7F else [number]


@pytest.mark.parametrize("large", [False, True])
def test_a_field_of_a_newer_version_is_refused_and_not_skipped(large, monkeypatch):
    monkeypatch.setattr(codec, "LARGE_BYTES", 0 if large else LARGE_BYTES)
    codec._decode_lately.cache_clear()
    with pytest.raises(MalformedCommand, match=r"field 99.*newer version\? Upgrade this node"):
        decode_command(_unknown_field(_message(kind=1, new=b"\x92\x01\x01")))
    inner = _unknown_field(pb.Operation(kind=1, new=b"\x92\x01\x01"))
    table = pb.Table(name="t", columns=["a", "b"], key=[0]).SerializeToString()
    write_set = b"\x1a" + bytes([len(table)]) + table + b"\x22" + bytes([len(inner)]) + inner
    command = b"\x0a\x011" + b"\x1a" + bytes([len(write_set)]) + write_set
    with pytest.raises(MalformedCommand, match="one of its parts"):
        decode_command(command)
    with pytest.raises(MalformedCommand, match="field 99"):
        decode_verdict(_unknown_field(pb.Verdict(kind=1)))


def test_a_body_of_a_newer_version_is_refused():
    with pytest.raises(MalformedCommand, match="no body that this version"):
        decode_command(pb.Command(proposal_id=b"1").SerializeToString())


def test_a_verdict_of_a_newer_version_is_refused():
    with pytest.raises(MalformedCommand, match="kind 55 is unknown"):
        decode_verdict(pb.Verdict(kind=55).SerializeToString())


def insert_of(text: str) -> bytes:
    table = Table("t", ("id", "text"), (0,))
    return encode_command(Command(b"id", 7, WriteSet(3, (Insert(table, (1, text)),))))


def test_what_was_decoded_a_moment_ago_is_not_decoded_again():
    data = insert_of("x")
    decoded = decode_command(data)
    assert decode_command(bytes(bytearray(data))) is decoded
    assert decode_command(insert_of("y")) != decoded
    hash(decoded)  # nothing in it can be changed by those who share it


def test_large_commands_are_not_remembered():
    data = insert_of("x" * LATELY_BYTES_MAX)
    assert decode_command(data) is not decode_command(data)


@pytest.mark.parametrize("proposal_id", [b"", b"x" * 65])
def test_a_proposal_has_an_id(proposal_id):
    with pytest.raises(ValueError, match="proposal id"):
        encode_command(Command(proposal_id, 0, Barrier()))
    message = pb.Command(proposal_id=proposal_id, barrier=pb.Barrier())
    with pytest.raises(MalformedCommand, match="proposal id"):
        decode_command(message.SerializeToString())
