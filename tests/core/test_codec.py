"""Bytes in and out, and bytes that nobody sent."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftcore import Entry, EntryKind, Malformed, Membership, Message, SnapshotMeta
from raftcore.codec import (
    NODE_ID_CHARACTERS_MAX,
    NUMBER_MAX,
    decode_membership,
    decode_message,
    decode_snapshot_meta,
    encode_membership,
    encode_message,
    encode_snapshot_meta,
)
from raftcore.messages import AppendEntries, Heartbeat, Snapshot
from raftcore.proto import raft_pb2 as pb

numbers = st.integers(0, NUMBER_MAX)
ids = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
BY_TYPE = {"int": numbers, "bool": st.booleans(), "NodeId": ids}


@st.composite
def memberships(draw) -> Membership:
    voters, learners, outgoing, others, gone = (
        frozenset(draw(st.sets(ids, min_size=least, max_size=4))) for least in (1, 0, 0, 0, 0)
    )
    learners -= voters | outgoing
    return Membership(
        voters,
        learners,
        outgoing,
        others & outgoing,
        others - voters - outgoing,
        draw(st.booleans()),
        gone - voters - learners - outgoing,
    )


memberships_encoded = memberships().map(encode_membership)
CONTENTS = [
    (kind, memberships_encoded if kind is EntryKind.MEMBERSHIP else st.binary(max_size=20))
    for kind in EntryKind
]


@st.composite
def appends(draw) -> AppendEntries:
    terms = sorted(draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)))
    prev = draw(st.integers(1, 1000))
    entries = tuple(
        Entry(prev + i, term, kind, draw(numbers), draw(data))
        for i, term in enumerate(terms[1:], 1)
        for kind, data in [draw(st.sampled_from(CONTENTS))]
    )
    term = draw(st.integers(terms[-1], NUMBER_MAX))
    return AppendEntries(term, draw(ids), prev, terms[0], entries, draw(numbers), draw(numbers))


@st.composite
def snapshot_metas(draw) -> SnapshotMeta:
    index = draw(st.integers(1, NUMBER_MAX))
    return SnapshotMeta(
        index,
        draw(st.integers(1, NUMBER_MAX)),
        draw(numbers),
        draw(memberships()),
        draw(st.integers(0, index)),
        draw(numbers),
    )


@st.composite
def snapshots(draw) -> Snapshot:
    meta = draw(snapshot_metas())
    return Snapshot(draw(st.integers(meta.term, NUMBER_MAX)), draw(ids), draw(numbers), meta)


def any_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    fields = dataclasses.fields(kind)
    return st.builds(kind, **{field.name: BY_TYPE[str(field.type)] for field in fields})


plain = [kind for kind in get_args(Message) if kind not in (AppendEntries, Snapshot)]
messages = st.one_of(appends(), snapshots(), *map(any_of, plain))


@given(messages)
def test_messages_come_back_as_they_went_in(message):
    assert decode_message(encode_message(message)) == message


@given(memberships())
def test_memberships_come_back_as_they_went_in(membership):
    assert decode_membership(encode_membership(membership)) == membership


@given(snapshot_metas())
def test_what_snapshots_stand_for_comes_back_as_it_went_in(meta):
    assert decode_snapshot_meta(encode_snapshot_meta(meta)) == meta


ABC = pb.Membership(voters=["a", "b", "c"])


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        (pb.SnapshotMeta(term=1, membership=ABC), "nothing"),
        (pb.SnapshotMeta(index=1, membership=ABC), "nothing"),
        (pb.SnapshotMeta(index=1, term=1), "without voters"),
        (pb.SnapshotMeta(index=1, term=1, membership=ABC, membership_index=2), "behind"),
        (pb.SnapshotMeta(index=2**63, term=1, membership=ABC), "out of range"),
        (pb.SnapshotMeta(index=1, term=1, membership=ABC, size=2**63), "out of range"),
    ],
)
def test_what_no_snapshot_can_stand_for_is_malformed(meta, says):
    with pytest.raises(Malformed, match=says):
        decode_snapshot_meta(meta.SerializeToString())


def test_a_snapshot_of_a_later_term_than_its_leaders_is_malformed():
    meta = pb.SnapshotMeta(index=1, term=2, membership=ABC)
    message = pb.Message(snapshot=pb.Snapshot(term=1, leader="a", session=1, meta=meta))
    with pytest.raises(Malformed, match="later term"):
        decode_message(message.SerializeToString())


def test_a_membership_has_one_encoding():
    # The entry's bytes are compared between nodes; a set's order differs from run to run.
    assert encode_membership(Membership(frozenset("abc"))) == b"\n\x01a\n\x01b\n\x01c"


@given(st.binary())
def test_any_bytes_are_a_message_or_malformed(data):
    try:
        message = decode_message(data)
    except Malformed:
        return
    assert decode_message(encode_message(message)) == message


@given(messages, st.data())
def test_damaged_messages_are_messages_or_malformed(message, data):
    encoded = bytearray(encode_message(message))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_are_a_message_or_malformed.hypothesis.inner_test(bytes(encoded))


@given(st.binary())
def test_any_bytes_are_a_membership_or_malformed(data):
    try:
        membership = decode_membership(data)
    except Malformed:
        return
    assert membership.voters


@pytest.mark.parametrize(
    ("membership", "says"),
    [
        (pb.Membership(learners=["a"]), "without voters"),
        (pb.Membership(voters=["a", ""]), "node id"),
        (pb.Membership(voters=["a"], learners=["a"]), "voter and learner"),
        (pb.Membership(voters=["a"], voters_outgoing=["b"], learners=["b"]), "voter and learner"),
        (pb.Membership(voters=["a", "b"], removed=["b"]), "removed"),
        (pb.Membership(voters=["a", "b", "c"], witnesses=["b", "c"]), "witnesses"),
        (pb.Membership(voters=["a"], voters_outgoing=["b"], witnesses=["b"]), "witnesses"),
    ],
)
def test_what_no_leader_appends_is_no_membership(membership, says):
    data = membership.SerializeToString()
    with pytest.raises(Malformed, match=says):
        decode_membership(data)
    with pytest.raises(Malformed, match=says):
        decode_message(append(kinds=b"\x01\x03", data=[b"", data]).SerializeToString())


def append(**changes: object) -> pb.Message:
    fields: dict[str, object] = {
        "term": 5,
        "leader": "b",
        "prev_log_index": 1,
        "prev_log_term": 2,
        "terms": [2, 3],
        "times_ms": [0, 0],
        "kinds": b"\x01\x02",
        "data": [b"", b""],
    }
    return pb.Message(append_entries=pb.AppendEntries(**{**fields, **changes}))


def test_an_append_that_is_well_formed_is_taken():
    assert len(decode_message(append().SerializeToString()).entries) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"leader": ""},
        {"leader": "x" * (NODE_ID_CHARACTERS_MAX + 1)},
        {"terms": [2, 1]},
        {"terms": [1, 2]},
        {"terms": [2, 6]},
        {"terms": [2]},
        {"terms": [2, 3, 3]},
        {"times_ms": [0]},
        {"times_ms": [0, NUMBER_MAX + 1]},
        {"kinds": b"\x01"},
        {"kinds": b"\x01\x05"},
        {"kinds": b"\x01\x00"},
        {"data": [b""]},
        {"prev_log_index": NUMBER_MAX},
        {"prev_log_index": 0},
        {"prev_log_term": 0, "terms": [0, 1]},
        {"term": NUMBER_MAX + 1},
        {"session": NUMBER_MAX + 1},
    ],
    ids=repr,
)
def test_an_append_that_no_leader_would_send_is_malformed(wrong):
    with pytest.raises(Malformed):
        decode_message(append(**wrong).SerializeToString())


@pytest.mark.parametrize(
    "body", [pb.Message(), pb.Message(heartbeat=pb.Heartbeat(term=1))], ids=["nothing", "no leader"]
)
def test_a_message_without_what_it_needs_is_malformed(body):
    with pytest.raises(Malformed):
        decode_message(body.SerializeToString())


def test_unknown_fields_of_later_versions_are_skipped():
    encoded = encode_message(Heartbeat(1, "a", 0, 1)) + b"\xf8\x07\x01"
    assert decode_message(encoded) == Heartbeat(1, "a", 0, 1)


@pytest.mark.parametrize("kind", get_args(Message), ids=lambda kind: kind.__name__)
def test_schema_and_dataclass_have_the_same_fields(kind):
    columns = {"terms", "times_ms", "kinds", "data"}
    schema = {field.name for field in getattr(pb, kind.__name__).DESCRIPTOR.fields}
    ours = {field.name for field in dataclasses.fields(kind)}
    assert ours == (schema - columns | {"entries"} if kind is AppendEntries else schema)


def test_version_1_of_the_format_is_still_written_and_read():
    message = AppendEntries(
        3, "n1", 7, 2, (Entry(8, 3, EntryKind.COMMAND, 99, b"data"),), leader_commit=6, session=4
    )
    fixture = bytes.fromhex("2a1d080312026e3118072002280630043a01034201634a0101520464617461")
    assert encode_message(message) == fixture
    assert decode_message(fixture) == message
