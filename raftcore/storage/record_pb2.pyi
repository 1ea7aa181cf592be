from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HardState(_message.Message):
    __slots__ = ("current_term", "voted_for")
    CURRENT_TERM_FIELD_NUMBER: _ClassVar[int]
    VOTED_FOR_FIELD_NUMBER: _ClassVar[int]
    current_term: int
    voted_for: str
    def __init__(self, current_term: _Optional[int] = ..., voted_for: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("hard_state", "first_index", "terms", "times_ms", "kinds", "data")
    HARD_STATE_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    TIMES_MS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    hard_state: HardState
    first_index: int
    terms: _containers.RepeatedScalarFieldContainer[int]
    times_ms: _containers.RepeatedScalarFieldContainer[int]
    kinds: bytes
    data: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, hard_state: _Optional[_Union[HardState, _Mapping]] = ..., first_index: _Optional[int] = ..., terms: _Optional[_Iterable[int]] = ..., times_ms: _Optional[_Iterable[int]] = ..., kinds: _Optional[bytes] = ..., data: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Base(_message.Message):
    __slots__ = ("snapshot", "first_index", "segment", "chain", "hard_state")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    HARD_STATE_FIELD_NUMBER: _ClassVar[int]
    snapshot: bytes
    first_index: int
    segment: int
    chain: int
    hard_state: HardState
    def __init__(self, snapshot: _Optional[bytes] = ..., first_index: _Optional[int] = ..., segment: _Optional[int] = ..., chain: _Optional[int] = ..., hard_state: _Optional[_Union[HardState, _Mapping]] = ...) -> None: ...

class SnapshotEnd(_message.Message):
    __slots__ = ("meta", "size", "sha256")
    META_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    meta: bytes
    size: int
    sha256: bytes
    def __init__(self, meta: _Optional[bytes] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...
