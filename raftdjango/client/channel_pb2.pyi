from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Request(_message.Message):
    __slots__ = ("sequence", "timeout_ms", "hello", "propose", "refresh", "lease_keys", "get_status", "take_turn", "end_turn")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PROPOSE_FIELD_NUMBER: _ClassVar[int]
    REFRESH_FIELD_NUMBER: _ClassVar[int]
    LEASE_KEYS_FIELD_NUMBER: _ClassVar[int]
    GET_STATUS_FIELD_NUMBER: _ClassVar[int]
    TAKE_TURN_FIELD_NUMBER: _ClassVar[int]
    END_TURN_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    timeout_ms: int
    hello: Hello
    propose: Propose
    refresh: Refresh
    lease_keys: LeaseKeys
    get_status: GetStatus
    take_turn: TakeTurn
    end_turn: EndTurn
    def __init__(self, sequence: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., propose: _Optional[_Union[Propose, _Mapping]] = ..., refresh: _Optional[_Union[Refresh, _Mapping]] = ..., lease_keys: _Optional[_Union[LeaseKeys, _Mapping]] = ..., get_status: _Optional[_Union[GetStatus, _Mapping]] = ..., take_turn: _Optional[_Union[TakeTurn, _Mapping]] = ..., end_turn: _Optional[_Union[EndTurn, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("version", "group", "database", "cluster_id")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    version: int
    group: str
    database: str
    cluster_id: bytes
    def __init__(self, version: _Optional[int] = ..., group: _Optional[str] = ..., database: _Optional[str] = ..., cluster_id: _Optional[bytes] = ...) -> None: ...

class Propose(_message.Message):
    __slots__ = ("proposal_id", "command", "want_keys", "keys_after")
    class WantKeysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PROPOSAL_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    WANT_KEYS_FIELD_NUMBER: _ClassVar[int]
    KEYS_AFTER_FIELD_NUMBER: _ClassVar[int]
    proposal_id: bytes
    command: bytes
    want_keys: _containers.ScalarMap[str, int]
    keys_after: int
    def __init__(self, proposal_id: _Optional[bytes] = ..., command: _Optional[bytes] = ..., want_keys: _Optional[_Mapping[str, int]] = ..., keys_after: _Optional[int] = ...) -> None: ...

class Refresh(_message.Message):
    __slots__ = ("by_entry",)
    BY_ENTRY_FIELD_NUMBER: _ClassVar[int]
    by_entry: bool
    def __init__(self, by_entry: bool = ...) -> None: ...

class LeaseKeys(_message.Message):
    __slots__ = ("table", "count", "after", "above")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ABOVE_FIELD_NUMBER: _ClassVar[int]
    table: str
    count: int
    after: int
    above: int
    def __init__(self, table: _Optional[str] = ..., count: _Optional[int] = ..., after: _Optional[int] = ..., above: _Optional[int] = ...) -> None: ...

class GetStatus(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TakeTurn(_message.Message):
    __slots__ = ("proposal_id", "longest_ms")
    PROPOSAL_ID_FIELD_NUMBER: _ClassVar[int]
    LONGEST_MS_FIELD_NUMBER: _ClassVar[int]
    proposal_id: bytes
    longest_ms: int
    def __init__(self, proposal_id: _Optional[bytes] = ..., longest_ms: _Optional[int] = ...) -> None: ...

class EndTurn(_message.Message):
    __slots__ = ("proposal_id",)
    PROPOSAL_ID_FIELD_NUMBER: _ClassVar[int]
    proposal_id: bytes
    def __init__(self, proposal_id: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("sequence", "cluster_time_ms", "welcome", "outcome", "refreshed", "keys", "status", "refusal", "turn")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    cluster_time_ms: int
    welcome: Welcome
    outcome: Outcome
    refreshed: Refreshed
    keys: Keys
    status: Status
    refusal: Refusal
    turn: TurnState
    def __init__(self, sequence: _Optional[int] = ..., cluster_time_ms: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ..., refreshed: _Optional[_Union[Refreshed, _Mapping]] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., turn: _Optional[_Union[TurnState, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("cluster_id", "node_id", "transaction_bytes_max")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    node_id: str
    transaction_bytes_max: int
    def __init__(self, cluster_id: _Optional[bytes] = ..., node_id: _Optional[str] = ..., transaction_bytes_max: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("verdict", "log_index", "winner_index", "keys")
    class KeysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: KeyRange
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[KeyRange, _Mapping]] = ...) -> None: ...
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    WINNER_INDEX_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    verdict: bytes
    log_index: int
    winner_index: int
    keys: _containers.MessageMap[str, KeyRange]
    def __init__(self, verdict: _Optional[bytes] = ..., log_index: _Optional[int] = ..., winner_index: _Optional[int] = ..., keys: _Optional[_Mapping[str, KeyRange]] = ...) -> None: ...

class Refreshed(_message.Message):
    __slots__ = ("applied_index",)
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    applied_index: int
    def __init__(self, applied_index: _Optional[int] = ...) -> None: ...

class KeyRange(_message.Message):
    __slots__ = ("first", "count")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    first: int
    count: int
    def __init__(self, first: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class Keys(_message.Message):
    __slots__ = ("range",)
    RANGE_FIELD_NUMBER: _ClassVar[int]
    range: KeyRange
    def __init__(self, range: _Optional[_Union[KeyRange, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class TurnState(_message.Message):
    __slots__ = ("begun",)
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    begun: bool
    def __init__(self, begun: bool = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "message")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Refusal.Reason]
        UNAVAILABLE: _ClassVar[Refusal.Reason]
        UNCERTAIN: _ClassVar[Refusal.Reason]
        TOO_LARGE: _ClassVar[Refusal.Reason]
        WRONG_DATABASE: _ClassVar[Refusal.Reason]
        BUSY: _ClassVar[Refusal.Reason]
        STOPPING: _ClassVar[Refusal.Reason]
        MALFORMED: _ClassVar[Refusal.Reason]
        STOPPED_APPLYING: _ClassVar[Refusal.Reason]
        NOT_POSSIBLE: _ClassVar[Refusal.Reason]
    UNSPECIFIED: Refusal.Reason
    UNAVAILABLE: Refusal.Reason
    UNCERTAIN: Refusal.Reason
    TOO_LARGE: Refusal.Reason
    WRONG_DATABASE: Refusal.Reason
    BUSY: Refusal.Reason
    STOPPING: Refusal.Reason
    MALFORMED: Refusal.Reason
    STOPPED_APPLYING: Refusal.Reason
    NOT_POSSIBLE: Refusal.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: Refusal.Reason
    message: str
    def __init__(self, reason: _Optional[_Union[Refusal.Reason, str]] = ..., message: _Optional[str] = ...) -> None: ...
