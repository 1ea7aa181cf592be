"""Bytes of messages and memberships: the edge of the core.

What decodes is well formed: ids are there, numbers are bounded, terms do not decrease.  The
core relies on it and checks only what depends on its own state.  Anything else is `Malformed`.
Sizes are the transport's and the log's to limit, before they read.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import gt
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from raftcore import messages as m
from raftcore.errors import Malformed
from raftcore.proto import raft_pb2 as pb
from raftcore.types import Entry, EntryKind, Membership, NodeId

NODE_ID_CHARACTERS_MAX = 255
NUMBER_MAX = 2**63 - 1
"""SQLite's largest integer: every index, term and time fits a column."""

_KINDS = {kind.value: kind for kind in EntryKind}
_KNOWN_KINDS = frozenset(_KINDS)
_Parsed = TypeVar("_Parsed", bound=ProtobufMessage)


def encode_membership(membership: Membership) -> bytes:
    """A membership as a MEMBERSHIP entry's data; the same membership always gives the same bytes."""
    return pb.Membership(
        voters=sorted(membership.voters),
        learners=sorted(membership.learners),
        voters_outgoing=sorted(membership.voters_outgoing),
    ).SerializeToString()


def decode_membership(data: bytes) -> Membership:
    """The membership that `encode_membership` made these bytes of."""
    parsed = _parse(pb.Membership(), data)
    if not parsed.voters:
        raise Malformed("a membership without voters")
    return Membership(
        _node_ids(parsed.voters), _node_ids(parsed.learners), _node_ids(parsed.voters_outgoing)
    )


def encode_message(message: m.Message) -> bytes:
    """A message as it travels."""
    return _message_out(message).SerializeToString()


def decode_message(data: bytes) -> m.Message:
    """The message that `encode_message` made these bytes of; `Malformed` for any others."""
    parsed = _parse(pb.Message(), data)
    match parsed.WhichOneof("body"):
        case "append_entries":
            return _append_entries_in(parsed.append_entries)
        case "append_entries_response":
            return _append_entries_response_in(parsed.append_entries_response)
        case "heartbeat":
            beat = parsed.heartbeat
            return m.Heartbeat(
                term=_number(beat.term),
                leader=_node_id(beat.leader),
                leader_commit=_number(beat.leader_commit),
                sequence=_number(beat.sequence),
                time_ms=_number(beat.time_ms),
            )
        case "heartbeat_response":
            answer = parsed.heartbeat_response
            return m.HeartbeatResponse(
                _number(answer.term), _node_id(answer.follower), _number(answer.sequence)
            )
        case "pre_vote":
            pre = parsed.pre_vote
            return m.PreVote(
                term=_number(pre.term),
                candidate=_node_id(pre.candidate),
                last_log_index=_number(pre.last_log_index),
                last_log_term=_number(pre.last_log_term),
            )
        case "pre_vote_response":
            reply = parsed.pre_vote_response
            return m.PreVoteResponse(_number(reply.term), _node_id(reply.voter), reply.granted)
        case "request_vote":
            vote = parsed.request_vote
            return m.RequestVote(
                term=_number(vote.term),
                candidate=_node_id(vote.candidate),
                last_log_index=_number(vote.last_log_index),
                last_log_term=_number(vote.last_log_term),
                transfer=vote.transfer,
            )
        case "request_vote_response":
            voted = parsed.request_vote_response
            return m.RequestVoteResponse(_number(voted.term), _node_id(voted.voter), voted.granted)
        case "timeout_now":
            return m.TimeoutNow(
                _number(parsed.timeout_now.term), _node_id(parsed.timeout_now.leader)
            )
        case "read_index":
            read = parsed.read_index
            return m.ReadIndex(_number(read.term), _node_id(read.follower), _number(read.request))
        case "read_index_response":
            told = parsed.read_index_response
            return m.ReadIndexResponse(
                term=_number(told.term),
                leader=_node_id(told.leader),
                request=_number(told.request),
                granted=told.granted,
                index=_number(told.index),
            )
    raise Malformed("a message of no known kind")


def _message_out(message: m.Message) -> pb.Message:
    # Every dataclass has the fields of its schema under the same names, so that only entries need
    # a hand; a test compares the two lists.
    match message:
        case m.AppendEntries():
            entries = message.entries
            return pb.Message(
                append_entries=pb.AppendEntries(
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
            )
        case m.AppendEntriesResponse():
            return pb.Message(append_entries_response=pb.AppendEntriesResponse(**_fields(message)))
        case m.Heartbeat():
            return pb.Message(heartbeat=pb.Heartbeat(**_fields(message)))
        case m.HeartbeatResponse():
            return pb.Message(heartbeat_response=pb.HeartbeatResponse(**_fields(message)))
        case m.PreVote():
            return pb.Message(pre_vote=pb.PreVote(**_fields(message)))
        case m.PreVoteResponse():
            return pb.Message(pre_vote_response=pb.PreVoteResponse(**_fields(message)))
        case m.RequestVote():
            return pb.Message(request_vote=pb.RequestVote(**_fields(message)))
        case m.RequestVoteResponse():
            return pb.Message(request_vote_response=pb.RequestVoteResponse(**_fields(message)))
        case m.TimeoutNow():
            return pb.Message(timeout_now=pb.TimeoutNow(**_fields(message)))
        case m.ReadIndex():
            return pb.Message(read_index=pb.ReadIndex(**_fields(message)))
        case m.ReadIndexResponse():
            return pb.Message(read_index_response=pb.ReadIndexResponse(**_fields(message)))


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


def _append_entries_response_in(parsed: pb.AppendEntriesResponse) -> m.AppendEntriesResponse:
    return m.AppendEntriesResponse(
        term=_number(parsed.term),
        follower=_node_id(parsed.follower),
        session=_number(parsed.session),
        success=parsed.success,
        match_index=_number(parsed.match_index),
        rejected_index=_number(parsed.rejected_index),
        hint_index=_number(parsed.hint_index),
        hint_term=_number(parsed.hint_term),
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
