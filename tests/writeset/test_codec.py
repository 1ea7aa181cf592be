"""Commands and verdicts as bytes: exact, stable, and refused when they are not understood."""

from __future__ import annotations

import contextlib
import json
import math
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raftdjango.writeset import (
    Barrier,
    BindIncarnation,
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Command,
    Delete,
    FormCluster,
    Insert,
    KeyLease,
    MalformedCommand,
    MigrationLock,
    Pins,
    Query,
    Reads,
    Statement,
    Table,
    Update,
    ValidatedRead,
    Verdict,
    VerdictKind,
    WriteSet,
    codec,
    decode_command,
    decode_verdict,
    encode_command,
    encode_verdict,
)
from raftdjango.writeset import entry_pb2 as pb
from raftdjango.writeset.codec import LARGE_BYTES, LATELY_BYTES_MAX
from raftdjango.writeset.rows import row_digest

FIXTURE = Path(__file__).with_name("version_1.json")

values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.binary(max_size=20),
)
identifiers = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)
digests = st.binary(min_size=16, max_size=16)


@st.composite
def tables(draw):
    columns = draw(st.lists(identifiers, min_size=1, max_size=5, unique_by=lambda c: c.lower()))
    key = draw(st.permutations(range(len(columns))))
    return Table(
        draw(identifiers), tuple(columns), tuple(key[: draw(st.integers(1, len(columns)))])
    )


def rows(width):
    return st.tuples(*[values] * width)


@st.composite
def operations(draw, table):
    width, key = len(table.columns), rows(len(table.key))
    positions = st.lists(st.integers(0, width - 1), unique=True)
    places = draw(positions)
    changes = tuple((place, draw(values)) for place in places)
    expected = draw(st.none() | st.integers(0, 2**63 - 1))
    kind = draw(st.sampled_from([*range(7), 7] if changes else [*range(7)]))
    if kind == 0:
        return Insert(table, draw(rows(width)))
    if kind == 1:
        return Update(table, draw(key), draw(digests), changes)
    if kind == 2:
        return Delete(table, draw(key), draw(digests))
    if kind == 3:
        return ValidatedRead(table, draw(key), draw(digests | st.just(b"")))
    if kind == 4:
        pins = Pins(draw(st.binary(max_size=9)), "2026-01-01 00:00:00.000")
        return Statement(draw(st.text(min_size=1)), draw(rows(3)), pins)
    if kind == 5:
        row = tuple(value for _, value in changes)
        names = tuple(draw(st.lists(identifiers, max_size=2)))
        returning = tuple(draw(positions))
        return BlindInsert(table, tuple(places), row, returning, names, expected)
    keys = tuple(draw(st.lists(key, max_size=3)))
    if kind == 6:
        return BlindDelete(table, keys, expected)
    return BlindUpdate(table, keys, changes, expected)


queries = st.builds(
    Query,
    st.sampled_from(["SELECT a FROM t WHERE b = ?", "SELECT COUNT(*) FROM t", "SELECT * FROM t"]),
    st.lists(values, max_size=3).map(tuple),
    st.integers(1, 2000),
    st.integers(0, 2**63 - 1),
    digests,
    st.lists(identifiers, min_size=1, max_size=3).map(tuple),
)
reads = st.builds(
    Reads,
    st.integers(0, 2**63 - 1),
    st.lists(identifiers | st.just(""), max_size=3).map(tuple),
    st.lists(queries, max_size=3).map(tuple),
)


@st.composite
def write_sets(draw):
    several = draw(st.lists(tables(), min_size=1, max_size=3))
    steps = [
        draw(operations(draw(st.sampled_from(several)))) for _ in range(draw(st.integers(0, 4)))
    ]
    version = draw(st.integers(0, 2**63 - 1))
    digest = draw(digests | st.just(b""))
    return WriteSet(version, tuple(steps), draw(st.booleans()), digest, draw(st.none() | reads))


bodies = st.one_of(
    write_sets(),
    st.builds(KeyLease, identifiers, st.integers(1, 2**63 - 1)),
    st.just(Barrier()),
    st.builds(
        FormCluster,
        st.binary(max_size=16),
        st.text(max_size=9),
        st.dictionaries(identifiers, st.text(max_size=9), max_size=4).map(
            lambda nodes: tuple(sorted(nodes.items()))
        ),
    ),
    st.builds(BindIncarnation, st.text(max_size=9), st.binary(max_size=16)),
    st.builds(MigrationLock, st.binary(max_size=16), st.integers(0, 2**63 - 1), st.booleans()),
)
commands = st.builds(Command, st.binary(min_size=1, max_size=64), st.integers(0, 2**63 - 1), bodies)
verdicts = st.builds(
    Verdict,
    st.sampled_from(VerdictKind),
    table=st.text(max_size=9),
    key=rows(2) | st.just(()),
    message=st.text(max_size=9),
    row_count=st.integers(0, 2**63 - 1),
    rows=st.lists(rows(3), max_size=3).map(tuple),
    first_key=st.integers(0, 2**63 - 1),
    granted=st.booleans(),
)


@given(commands)
def test_commands_come_back_as_they_were(command):
    data = encode_command(command)
    again = decode_command(data)
    assert repr(again) == repr(command), "repr tells 1 from 1.0 and True, 0.0 from -0.0"
    assert encode_command(again) == data


@given(verdicts)
def test_verdicts_come_back_as_they_were(verdict):
    assert repr(decode_verdict(encode_verdict(verdict))) == repr(verdict)


@given(st.binary(max_size=300))
@example(b"")
def test_arbitrary_bytes_are_a_command_or_malformed(data):
    for decode in (decode_command, decode_verdict):
        with contextlib.suppress(MalformedCommand):
            decode(data)


@given(commands, st.data())
def test_damaged_bytes_are_a_command_or_malformed(command, data):
    damaged = bytearray(encode_command(command))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        found = decode_command(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    except MalformedCommand:
        return
    encode_command(found)


@pytest.mark.parametrize("kind", [{"kind": 1, "new": b""}, {"kind": 8, "key": b""}])
def test_a_few_bytes_cannot_reserve_much_memory(kind):
    """Nested arrays, each claiming to be as long as a row may be."""
    bomb = b"\xdd\x00\x00\x7f\xff" * 1000
    message = pb.Command(proposal_id=b"1")
    message.write_set.tables.add(name="t", columns=["a", "b"], key=[0])
    message.write_set.operations.add(**{name: value or bomb for name, value in kind.items()})
    data = message.SerializeToString()
    tracemalloc.start()
    with pytest.raises(MalformedCommand):
        decode_command(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


# What is not understood -------------------------------------------------------------------------

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


# The format -------------------------------------------------------------------------------------

PINS = Pins(b"seed", "2026-02-03 04:05:06.789")
PAIR = Table('pair "x"', ("b", "a", "v"), (1, 0))
SAMPLES: dict[str, Command | Verdict] = {
    "insert": Command(b"p" * 24, 5000, WriteSet(7, (Insert(T, (1, "ü")), Insert(T, (2, None))))),
    "values": Command(
        b"p", 0, WriteSet(0, (BlindInsert(PAIR, (0, 1, 2), (-(2**63), math.inf, b"\0")),))
    ),
    "captured": Command(
        b"p" * 24,
        2**40,
        WriteSet(
            7,
            (
                Update(T, (1,), row_digest((1, "a")), ((1, 2.5),)),
                Update(T, (1,), row_digest((1, "a")), ()),
                Delete(PAIR, ("k", 1), row_digest((1, "k", None))),
                ValidatedRead(T, (2,), b""),
                ValidatedRead(T, (3,), row_digest((3, "c"))),
            ),
            expected_digest=b"d" * 16,
        ),
    ),
    "statement": Command(
        b"p", 1, WriteSet(7, (Statement("UPDATE t SET a = ?", (2**63 - 1,), PINS),), True)
    ),
    "blind": Command(
        b"p",
        1,
        WriteSet(
            7,
            (
                BlindInsert(T, (1,), ("a",), (0, 1), ("generated",), 1),
                BlindInsert(T, (), ()),
                BlindUpdate(PAIR, (("a", 1), ("b", 2)), ((2, None), (0, 3)), 2),
                BlindDelete(T, ((1,), (2,)), 0),
            ),
        ),
    ),
    "serializable": Command(
        b"p",
        1,
        WriteSet(
            7,
            (Insert(T, (1, "a")),),
            reads=Reads(
                9,
                ("t", ""),
                (Query("SELECT a FROM t WHERE b = ?", ("x", 1), 1, 2, b"d" * 16, ("t",)),),
            ),
        ),
    ),
    "lease": Command(b"p", 1, KeyLease("t", 100)),
    "barrier": Command(b"p", 1, Barrier()),
    "form": Command(b"p", 1, FormCluster(b"id", "default", (("n1", "u1"), ("n2", "u2")))),
    "bind": Command(b"p", 1, BindIncarnation("n1", b"inc")),
    "lock": Command(b"p", 1, MigrationLock(b"me", 500, True)),
    "applied": Verdict(VerdictKind.APPLIED),
    "verdict": Verdict(
        VerdictKind.CONFLICT, "t", (1, "k"), "changed", 3, ((1, "a"), (None, b"b")), 100, True
    ),
}


def _encode(sample: Command | Verdict) -> str:
    data = encode_command(sample) if isinstance(sample, Command) else encode_verdict(sample)
    return data.hex()


def test_the_format_is_that_of_version_1():
    """Logs and databases hold these bytes: a change of them needs a new version, not a new file."""
    stored = json.loads(FIXTURE.read_text())
    assert {name: _encode(sample) for name, sample in SAMPLES.items()} == stored
    for name, sample in SAMPLES.items():
        decode = decode_command if isinstance(sample, Command) else decode_verdict
        assert repr(decode(bytes.fromhex(stored[name]))) == repr(sample)


def test_the_digest_of_a_row_is_that_of_version_1():
    row = (1, -1, 1.0, "ü", b"\xff", None, 2**63 - 1)
    assert row_digest(row).hex() == json.loads(FIXTURE.with_name("digest_1.json").read_text())
