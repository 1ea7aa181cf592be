"""Commands and verdicts as bytes come back as they were; damaged ones harm nobody."""

from __future__ import annotations

import contextlib
import tracemalloc

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
    decode_command,
    decode_verdict,
    encode_command,
    encode_verdict,
)
from raftdjango.writeset import entry_pb2 as pb

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
    fence = draw(st.binary(max_size=40))
    off, read = draw(st.booleans()), draw(st.none() | reads)
    return WriteSet(version, tuple(steps), off, digest, read, fence)


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
    st.builds(
        MigrationLock,
        st.binary(max_size=16),
        st.integers(0, 2**63 - 1),
        st.booleans(),
        st.booleans(),
    ),
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
