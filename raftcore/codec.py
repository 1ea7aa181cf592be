"""Bytes of messages, memberships and what snapshots stand for: the edge of the core.

What decodes is well formed: ids are there, numbers are bounded, terms do not decrease, memberships
are such as a leader appends.  The core relies on it and checks only what depends on its own state.
Anything else is `Malformed`.
Sizes are the transport's and the log's to limit, before they read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import gt
from typing import Any, TypeVar, get_args

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from raftcore import messages as m
from raftcore import quorum
from raftcore.errors import Malformed
from raftcore.proto import raft_pb2 as pb
from raftcore.types import (
    NODE_ID_CHARACTERS_MAX,
    Entry,
    EntryKind,
    Membership,
    NodeId,
    SnapshotMeta,
)

NUMBER_MAX = 2**63 - 1
"""SQLite's largest integer: every index, term and time fits a column."""

_KINDS = {kind.value: kind for kind in EntryKind}
_KNOWN_KINDS = frozenset(_KINDS)
_Parsed = TypeVar("_Parsed", bound=ProtobufMessage)


def encode_membership(membership: Membership) -> bytes:
    """A membership as a MEMBERSHIP entry's data; the same one always gives the same bytes."""
    return _membership_out(membership).SerializeToString()


def decode_membership(data: bytes) -> Membership:
    """The membership that `encode_membership` made these bytes of."""
    return _membership_in(_parse(pb.Membership(), data))


def encode_snapshot_meta(meta: SnapshotMeta) -> bytes:
    """What a snapshot stands for, as it is kept beside it; the same always gives the same bytes."""
    return _snapshot_meta_out(meta).SerializeToString()


def decode_snapshot_meta(data: bytes) -> SnapshotMeta:
    """What `encode_snapshot_meta` made these bytes of."""
    return _snapshot_meta_in(_parse(pb.SnapshotMeta(), data))


def encode_message(message: m.Message) -> bytes:
    """A message as it travels."""
    if isinstance(message, m.AppendEntries):
        return pb.Message(append_entries=_append_entries_out(message)).SerializeToString()
    if isinstance(message, m.Snapshot):
        return pb.Message(snapshot=_snapshot_out(message)).SerializeToString()
    kind = _PLAIN[type(message)]
    body: dict[str, Any] = {kind.body: kind.schema(**_fields(message))}
    return pb.Message(**body).SerializeToString()


def decode_message(data: bytes) -> m.Message:
    """The message that `encode_message` made these bytes of; `Malformed` for any others."""
    parsed = _parse(pb.Message(), data)
    body = parsed.WhichOneof("body")
    if body is None:
        raise Malformed("a message of no known kind")
    if body == "append_entries":
        return _append_entries_in(parsed.append_entries)
    if body == "snapshot":
        return _snapshot_in(parsed.snapshot)
    kind, values = _PLAIN_BY_BODY[body], getattr(parsed, body)
    return kind.message(*[read(getattr(values, name)) for name, read in kind.fields])


def _membership_out(membership: Membership) -> pb.Membership:
    return pb.Membership(
        voters=sorted(membership.voters),
        learners=sorted(membership.learners),
        voters_outgoing=sorted(membership.voters_outgoing),
        learners_next=sorted(membership.learners_next),
        witnesses=sorted(membership.witnesses),
        auto_leave=membership.auto_leave,
        removed=sorted(membership.removed),
    )


def _membership_in(parsed: pb.Membership) -> Membership:
    if not parsed.voters:
        raise Malformed("a membership without voters")
    membership = Membership(
        voters=_node_ids(parsed.voters),
        learners=_node_ids(parsed.learners),
        voters_outgoing=_node_ids(parsed.voters_outgoing),
        learners_next=_node_ids(parsed.learners_next),
        witnesses=_node_ids(parsed.witnesses),
        auto_leave=parsed.auto_leave,
        removed=_node_ids(parsed.removed),
    )
    if membership.learners & quorum.voters(membership):
        raise Malformed("a membership with somebody who is voter and learner")
    if membership.removed & membership.members:
        raise Malformed("a membership with somebody who was removed")
    for half in (membership.voters, membership.voters_outgoing):
        if len(half & membership.witnesses) >= quorum.majority(len(half)):
            raise Malformed("a membership with a majority of witnesses")
    return membership


def _snapshot_meta_out(meta: SnapshotMeta) -> pb.SnapshotMeta:
    return pb.SnapshotMeta(
        index=meta.index,
        term=meta.term,
        time_ms=meta.time_ms,
        membership=_membership_out(meta.membership),
        membership_index=meta.membership_index,
        size=meta.size,
    )


def _snapshot_meta_in(parsed: pb.SnapshotMeta) -> SnapshotMeta:
    if parsed.index == 0 or parsed.term == 0:
        raise Malformed("a snapshot of nothing")
    if parsed.membership_index > parsed.index:
        raise Malformed("a snapshot with a membership from behind it")
    return SnapshotMeta(
        index=_number(parsed.index),
        term=_number(parsed.term),
        time_ms=_number(parsed.time_ms),
        membership=_membership_in(parsed.membership),
        membership_index=parsed.membership_index,
        size=_number(parsed.size),
    )


def _append_entries_out(message: m.AppendEntries) -> pb.AppendEntries:
    entries = message.entries
    return pb.AppendEntries(
        term=message.term,
        leader=message.leader,
        prev_log_index=message.prev_log_index,
        prev_log_term=message.prev_log_term,
        leader_commit=message.leader_commit,
        session=message.session,
        terms=[entry.term for entry in entries],
        times_ms=[entry.time_ms for entry in entries],
        kinds=bytes([entry.kind for entry in entries]),
        data=[entry.data for entry in entries],
    )


def _fields(message: m.Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__slots__}


def _append_entries_in(parsed: pb.AppendEntries) -> m.AppendEntries:
    prev, terms, times = _number(parsed.prev_log_index), parsed.terms, parsed.times_ms
    count = len(terms)
    if not len(times) == len(parsed.kinds) == len(parsed.data) == count:
        raise Malformed("entries whose columns differ in length")
    last_term = _number(parsed.prev_log_term)
    if count:
        if any(map(gt, (last_term, *terms), terms)):
            raise Malformed("entries whose terms decrease")
        last_term = terms[-1]
        if terms[0] == 0 or max(times) > NUMBER_MAX or prev + count > NUMBER_MAX:
            raise Malformed("an entry with a number out of range")
        if not _KNOWN_KINDS.issuperset(parsed.kinds):
            raise Malformed("an entry of no known kind")
        _check_memberships(parsed)
    if prev == 0 and parsed.prev_log_term:
        raise Malformed("a term before the first entry")
    if last_term > _number(parsed.term):
        raise Malformed("an entry of a later term than its leader's")
    kinds = map(_KINDS.__getitem__, parsed.kinds)
    indexes = range(prev + 1, prev + count + 1)
    return m.AppendEntries(
        term=parsed.term,
        leader=_node_id(parsed.leader),
        prev_log_index=prev,
        prev_log_term=_number(parsed.prev_log_term),
        entries=tuple(map(Entry, indexes, terms, kinds, times, parsed.data)),
        leader_commit=_number(parsed.leader_commit),
        session=_number(parsed.session),
    )


def _check_memberships(parsed: pb.AppendEntries) -> None:
    if EntryKind.MEMBERSHIP in parsed.kinds:
        for kind, data in zip(parsed.kinds, parsed.data, strict=True):
            if kind == EntryKind.MEMBERSHIP:
                decode_membership(data)


def _snapshot_out(message: m.Snapshot) -> pb.Snapshot:
    return pb.Snapshot(
        term=message.term,
        leader=message.leader,
        session=message.session,
        meta=_snapshot_meta_out(message.meta),
    )


def _snapshot_in(parsed: pb.Snapshot) -> m.Snapshot:
    meta = _snapshot_meta_in(parsed.meta)
    if meta.term > _number(parsed.term):
        raise Malformed("a snapshot of a later term than its leader's")
    return m.Snapshot(
        term=parsed.term,
        leader=_node_id(parsed.leader),
        session=_number(parsed.session),
        meta=meta,
    )


def _parse(target: _Parsed, data: bytes) -> _Parsed:
    try:
        target.ParseFromString(data)
    except DecodeError as error:
        raise Malformed(f"not a {target.DESCRIPTOR.name}: {error}") from None
    return target


def _number(value: int) -> int:
    if value > NUMBER_MAX:
        raise Malformed("a number out of range")
    return value


def _node_id(value: str) -> NodeId:
    if not 0 < len(value) <= NODE_ID_CHARACTERS_MAX:
        raise Malformed("a node id that is empty or too long")
    return value


def _node_ids(values: Iterable[str]) -> frozenset[NodeId]:
    return frozenset(map(_node_id, values))


@dataclass(frozen=True, slots=True)
class _Plain:
    """A message whose fields stand one by one in its schema, under the same names."""

    message: Callable[..., m.Message]
    schema: Callable[..., ProtobufMessage]
    body: str
    fields: tuple[tuple[str, Callable[[Any], Any]], ...]

    @classmethod
    def of(cls, kind: type[m.Message]) -> _Plain:
        readers: dict[str, Callable[[Any], Any]]
        readers = {"int": _number, "NodeId": _node_id, "bool": bool}
        return cls(
            kind,
            getattr(pb, kind.__name__),
            re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(),
            tuple((field.name, readers[str(field.type)]) for field in fields(kind)),
        )


_PLAIN = {
    kind: _Plain.of(kind)
    for kind in get_args(m.Message)
    if kind not in (m.AppendEntries, m.Snapshot)
}
_PLAIN_BY_BODY = {kind.body: kind for kind in _PLAIN.values()}
