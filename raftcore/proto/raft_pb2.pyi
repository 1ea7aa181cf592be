from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Membership(_message.Message):
    __slots__ = ("voters", "learners", "voters_outgoing", "learners_next", "witnesses", "auto_leave", "removed")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_OUTGOING_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_NEXT_FIELD_NUMBER: _ClassVar[int]
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    AUTO_LEAVE_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    voters: _containers.RepeatedScalarFieldContainer[str]
    learners: _containers.RepeatedScalarFieldContainer[str]
    voters_outgoing: _containers.RepeatedScalarFieldContainer[str]
    learners_next: _containers.RepeatedScalarFieldContainer[str]
    witnesses: _containers.RepeatedScalarFieldContainer[str]
    auto_leave: bool
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, voters: _Optional[_Iterable[str]] = ..., learners: _Optional[_Iterable[str]] = ..., voters_outgoing: _Optional[_Iterable[str]] = ..., learners_next: _Optional[_Iterable[str]] = ..., witnesses: _Optional[_Iterable[str]] = ..., auto_leave: bool = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class SnapshotMeta(_message.Message):
    __slots__ = ("index", "term", "time_ms", "membership", "membership_index", "size")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_INDEX_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    time_ms: int
    membership: Membership
    membership_index: int
    size: int
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., time_ms: _Optional[int] = ..., membership: _Optional[_Union[Membership, _Mapping]] = ..., membership_index: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class PreVote(_message.Message):
    __slots__ = ("term", "candidate", "last_log_index", "last_log_term")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    term: int
    candidate: str
    last_log_index: int
    last_log_term: int
    def __init__(self, term: _Optional[int] = ..., candidate: _Optional[str] = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ...) -> None: ...

class PreVoteResponse(_message.Message):
    __slots__ = ("term", "voter", "granted")
    TERM_FIELD_NUMBER: _ClassVar[int]
    VOTER_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    term: int
    voter: str
    granted: bool
    def __init__(self, term: _Optional[int] = ..., voter: _Optional[str] = ..., granted: bool = ...) -> None: ...

class RequestVote(_message.Message):
    __slots__ = ("term", "candidate", "last_log_index", "last_log_term", "transfer")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    term: int
    candidate: str
    last_log_index: int
    last_log_term: int
    transfer: bool
    def __init__(self, term: _Optional[int] = ..., candidate: _Optional[str] = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ..., transfer: bool = ...) -> None: ...

class RequestVoteResponse(_message.Message):
    __slots__ = ("term", "voter", "granted")
    TERM_FIELD_NUMBER: _ClassVar[int]
    VOTER_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    term: int
    voter: str
    granted: bool
    def __init__(self, term: _Optional[int] = ..., voter: _Optional[str] = ..., granted: bool = ...) -> None: ...

class AppendEntries(_message.Message):
    __slots__ = ("term", "leader", "prev_log_index", "prev_log_term", "leader_commit", "session", "terms", "times_ms", "kinds", "data")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    PREV_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    PREV_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_COMMIT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    TIMES_MS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    term: int
    leader: str
    prev_log_index: int
    prev_log_term: int
    leader_commit: int
    session: int
    terms: _containers.RepeatedScalarFieldContainer[int]
    times_ms: _containers.RepeatedScalarFieldContainer[int]
    kinds: bytes
    data: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, term: _Optional[int] = ..., leader: _Optional[str] = ..., prev_log_index: _Optional[int] = ..., prev_log_term: _Optional[int] = ..., leader_commit: _Optional[int] = ..., session: _Optional[int] = ..., terms: _Optional[_Iterable[int]] = ..., times_ms: _Optional[_Iterable[int]] = ..., kinds: _Optional[bytes] = ..., data: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AppendEntriesResponse(_message.Message):
    __slots__ = ("term", "follower", "session", "success", "match_index", "rejected_index", "hint_index", "hint_term", "witness")
    TERM_FIELD_NUMBER: _ClassVar[int]
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    REJECTED_INDEX_FIELD_NUMBER: _ClassVar[int]
    HINT_INDEX_FIELD_NUMBER: _ClassVar[int]
    HINT_TERM_FIELD_NUMBER: _ClassVar[int]
    WITNESS_FIELD_NUMBER: _ClassVar[int]
    term: int
    follower: str
    session: int
    success: bool
    match_index: int
    rejected_index: int
    hint_index: int
    hint_term: int
    witness: bool
    def __init__(self, term: _Optional[int] = ..., follower: _Optional[str] = ..., session: _Optional[int] = ..., success: bool = ..., match_index: _Optional[int] = ..., rejected_index: _Optional[int] = ..., hint_index: _Optional[int] = ..., hint_term: _Optional[int] = ..., witness: bool = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("term", "leader", "leader_commit", "sequence", "time_ms", "ahead")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    LEADER_COMMIT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    term: int
    leader: str
    leader_commit: int
    sequence: int
    time_ms: int
    ahead: int
    def __init__(self, term: _Optional[int] = ..., leader: _Optional[str] = ..., leader_commit: _Optional[int] = ..., sequence: _Optional[int] = ..., time_ms: _Optional[int] = ..., ahead: _Optional[int] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("term", "follower", "sequence", "priority")
    TERM_FIELD_NUMBER: _ClassVar[int]
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    term: int
    follower: str
    sequence: int
    priority: int
    def __init__(self, term: _Optional[int] = ..., follower: _Optional[str] = ..., sequence: _Optional[int] = ..., priority: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("term", "leader", "session", "meta")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    term: int
    leader: str
    session: int
    meta: SnapshotMeta
    def __init__(self, term: _Optional[int] = ..., leader: _Optional[str] = ..., session: _Optional[int] = ..., meta: _Optional[_Union[SnapshotMeta, _Mapping]] = ...) -> None: ...

class Removed(_message.Message):
    __slots__ = ("term", "member")
    TERM_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    term: int
    member: str
    def __init__(self, term: _Optional[int] = ..., member: _Optional[str] = ...) -> None: ...

class TimeoutNow(_message.Message):
    __slots__ = ("term", "leader")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    term: int
    leader: str
    def __init__(self, term: _Optional[int] = ..., leader: _Optional[str] = ...) -> None: ...

class ReadIndex(_message.Message):
    __slots__ = ("term", "follower", "request")
    TERM_FIELD_NUMBER: _ClassVar[int]
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    term: int
    follower: str
    request: int
    def __init__(self, term: _Optional[int] = ..., follower: _Optional[str] = ..., request: _Optional[int] = ...) -> None: ...

class ReadIndexResponse(_message.Message):
    __slots__ = ("term", "leader", "request", "granted", "index")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    term: int
    leader: str
    request: int
    granted: bool
    index: int
    def __init__(self, term: _Optional[int] = ..., leader: _Optional[str] = ..., request: _Optional[int] = ..., granted: bool = ..., index: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("pre_vote", "pre_vote_response", "request_vote", "request_vote_response", "append_entries", "append_entries_response", "heartbeat", "heartbeat_response", "timeout_now", "removed", "snapshot", "read_index", "read_index_response")
    PRE_VOTE_FIELD_NUMBER: _ClassVar[int]
    PRE_VOTE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_VOTE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_VOTE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    APPEND_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    APPEND_ENTRIES_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_NOW_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    pre_vote: PreVote
    pre_vote_response: PreVoteResponse
    request_vote: RequestVote
    request_vote_response: RequestVoteResponse
    append_entries: AppendEntries
    append_entries_response: AppendEntriesResponse
    heartbeat: Heartbeat
    heartbeat_response: HeartbeatResponse
    timeout_now: TimeoutNow
    removed: Removed
    snapshot: Snapshot
    read_index: ReadIndex
    read_index_response: ReadIndexResponse
    def __init__(self, pre_vote: _Optional[_Union[PreVote, _Mapping]] = ..., pre_vote_response: _Optional[_Union[PreVoteResponse, _Mapping]] = ..., request_vote: _Optional[_Union[RequestVote, _Mapping]] = ..., request_vote_response: _Optional[_Union[RequestVoteResponse, _Mapping]] = ..., append_entries: _Optional[_Union[AppendEntries, _Mapping]] = ..., append_entries_response: _Optional[_Union[AppendEntriesResponse, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., heartbeat_response: _Optional[_Union[HeartbeatResponse, _Mapping]] = ..., timeout_now: _Optional[_Union[TimeoutNow, _Mapping]] = ..., removed: _Optional[_Union[Removed, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., read_index: _Optional[_Union[ReadIndex, _Mapping]] = ..., read_index_response: _Optional[_Union[ReadIndexResponse, _Mapping]] = ...) -> None: ...
