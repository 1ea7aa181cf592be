"""The wire codec: what peers send."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftcore import (
    Config,
    HardState,
    InvariantViolation,
    Malformed,
    Membership,
    Message,
    RaftCore,
)
from raftcore.codec import (
    decode_membership,
    decode_message,
    encode_membership,
    encode_message,
)
from raftcore.messages import AppendEntries, Snapshot
from raftcore.proto import raft_pb2 as pb
from raftcore.storage import MemoryLog
from tests.fuzz.material import damaged, fields, frugal, memberships, messages, seeded


def decoded_or_refused(data: bytes) -> Message | None:
    try:
        message = frugal(decode_message, data)
    except Malformed:
        return None
    # What is let in is a message like any other.
    assert decode_message(encode_message(message)) == message
    return message


@seeded
@given(messages)
def test_whatever_is_sent_arrives(message):
    assert decode_message(encode_message(message)) == message


def test_no_kind_of_message_is_left_out():
    assert {AppendEntries, *fields} == set(get_args(Message))
    assert all(len(parts) == len(kind.__slots__) for kind, parts in fields.items())


@seeded
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_message_or_malformed(data):
    decoded_or_refused(data)


@seeded
@given(damaged(messages.map(encode_message)))
def test_damaged_messages_are_a_message_or_malformed(data):
    decoded_or_refused(data)


@seeded
@given(st.data())
def test_messages_of_any_fields_are_a_message_or_malformed(data):
    # Well-formed protobuf with numbers of all sizes, columns of all lengths, ids of all kinds.
    bodies = pb.Message.DESCRIPTOR.fields
    field = data.draw(st.sampled_from(list(bodies)))
    parsed = pb.Message()
    body = getattr(parsed, field.name)
    body.SetInParent()
    numbers = st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1))
    for part in field.message_type.fields:
        fill(body, part, data, numbers)
    decoded_or_refused(parsed.SerializeToString())


def fill(body, part, data, numbers):
    if part.message_type is not None:
        if part.message_type.name != "Membership" or data.draw(st.booleans()):
            inner = getattr(body, part.name)
            inner.SetInParent()
            for one in part.message_type.fields:
                fill(inner, one, data, numbers)
        return
    values = {
        part.CPPTYPE_UINT64: numbers,
        part.CPPTYPE_BOOL: st.booleans(),
        part.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    }.get(part.cpp_type)
    if values is None:
        values = st.binary(max_size=20) if part.type == part.TYPE_BYTES else st.text(max_size=300)
    try:
        getattr(body, part.name).extend(data.draw(st.lists(values, max_size=4)))
    except AttributeError:
        setattr(body, part.name, data.draw(values))


def test_nothing_that_claims_to_be_large_is_believed():
    # A length beyond what is there, at every level.
    for claim in (b"\x7f", b"\xff\xff\xff\x7f", b"\xff" * 9 + b"\x01"):
        for tag in range(1, 128):
            with pytest.raises(Malformed):
                frugal(decode_message, bytes([tag << 3 & 0x7F | 2]) + claim)


@seeded
@given(st.one_of(st.binary(max_size=200), damaged(memberships().map(encode_membership))))
def test_a_membership_is_one_or_malformed(data):
    try:
        membership = frugal(decode_membership, data)
    except Malformed:
        return
    assert decode_membership(encode_membership(membership)) == membership


SOMEBODY = st.sampled_from(["n1", "n2", "n3", "stranger"])
SMALL = st.integers(0, 6)


@st.composite
def plausible(draw):
    """A message with small numbers and known names: one that gets past the first check."""
    message = draw(messages)
    changed = {}
    for name in message.__slots__:
        value = getattr(message, name)
        if isinstance(value, str):
            changed[name] = draw(SOMEBODY)
        elif type(value) is int:
            changed[name] = draw(SMALL)
    if hasattr(message, "entries"):
        changed["prev_log_index"] = message.prev_log_index
        changed["prev_log_term"] = message.prev_log_term
        changed["term"] = max([changed["term"], *(e.term for e in message.entries)])
    if isinstance(message, Snapshot):
        meta = replace(
            message.meta, index=draw(SMALL) + 1, term=draw(SMALL) + 1, membership_index=0
        )
        changed |= {"meta": meta, "term": max(changed["term"], meta.term)}
    return type(message)(**{n: changed.get(n, getattr(message, n)) for n in message.__slots__})


@seeded
@given(
    st.lists(st.one_of(plausible(), messages), max_size=12), st.integers(0, 2**32), st.booleans()
)
def test_a_node_that_is_told_nonsense_refuses_it_or_stops(told, seed, witness):
    # Nothing but `InvariantViolation` may come out: that one says what to do, and means stop.
    disk = MemoryLog()
    core = RaftCore(
        Config("n1", election_timeout_ms=100, heartbeat_ms=20, witness=witness, snapshots=True),
        disk,
        hard_state=HardState(),
        bootstrap=Membership(
            frozenset(["n1", "n2", "n3"]), witnesses=frozenset(["n1"] if witness else [])
        ),
        applied_index=0,
        rng=random.Random(seed),
        now_ms=0,
    )
    try:
        for now_ms, message in enumerate(told):
            core.receive(message, 40 * now_ms)
            if isinstance(message, Snapshot):
                core.snapshot_arrived(message, 40 * now_ms)
            core.handle_timer(40 * now_ms)
            core.take_effects()
            core.next_timer()
    except InvariantViolation as violation:
        assert str(violation)
