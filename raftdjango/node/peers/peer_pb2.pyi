from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Batch(_message.Message):
    __slots__ = ("raft", "forwards", "answers", "fragment", "forming", "facts", "behind", "later", "turns")
    RAFT_FIELD_NUMBER: _ClassVar[int]
    FORWARDS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    FORMING_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    LATER_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    raft: _containers.RepeatedScalarFieldContainer[bytes]
    forwards: _containers.RepeatedCompositeFieldContainer[Forward]
    answers: _containers.RepeatedCompositeFieldContainer[ForwardAnswer]
    fragment: Fragment
    forming: _containers.RepeatedCompositeFieldContainer[Node]
    facts: MemberFacts
    behind: _containers.RepeatedScalarFieldContainer[int]
    later: _containers.RepeatedScalarFieldContainer[bytes]
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    def __init__(self, raft: _Optional[_Iterable[bytes]] = ..., forwards: _Optional[_Iterable[_Union[Forward, _Mapping]]] = ..., answers: _Optional[_Iterable[_Union[ForwardAnswer, _Mapping]]] = ..., fragment: _Optional[_Union[Fragment, _Mapping]] = ..., forming: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., facts: _Optional[_Union[MemberFacts, _Mapping]] = ..., behind: _Optional[_Iterable[int]] = ..., later: _Optional[_Iterable[bytes]] = ..., turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "url")
    ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    id: str
    url: str
    def __init__(self, id: _Optional[str] = ..., url: _Optional[str] = ...) -> None: ...

class Forward(_message.Message):
    __slots__ = ("proposal_id", "command")
    PROPOSAL_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    proposal_id: bytes
    command: bytes
    def __init__(self, proposal_id: _Optional[bytes] = ..., command: _Optional[bytes] = ...) -> None: ...

class ForwardAnswer(_message.Message):
    __slots__ = ("proposal_id", "result", "term", "index")
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[ForwardAnswer.Result]
        ACCEPTED: _ClassVar[ForwardAnswer.Result]
        BUSY: _ClassVar[ForwardAnswer.Result]
        TRANSFERRING: _ClassVar[ForwardAnswer.Result]
        TOO_LARGE: _ClassVar[ForwardAnswer.Result]
        NOT_LEADER: _ClassVar[ForwardAnswer.Result]
    UNSPECIFIED: ForwardAnswer.Result
    ACCEPTED: ForwardAnswer.Result
    BUSY: ForwardAnswer.Result
    TRANSFERRING: ForwardAnswer.Result
    TOO_LARGE: ForwardAnswer.Result
    NOT_LEADER: ForwardAnswer.Result
    PROPOSAL_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    proposal_id: bytes
    result: ForwardAnswer.Result
    term: int
    index: int
    def __init__(self, proposal_id: _Optional[bytes] = ..., result: _Optional[_Union[ForwardAnswer.Result, str]] = ..., term: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("token", "kind", "index", "longest_ms")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Turn.Kind]
        TAKE: _ClassVar[Turn.Kind]
        GRANTED: _ClassVar[Turn.Kind]
        HOLD: _ClassVar[Turn.Kind]
        END: _ClassVar[Turn.Kind]
    UNSPECIFIED: Turn.Kind
    TAKE: Turn.Kind
    GRANTED: Turn.Kind
    HOLD: Turn.Kind
    END: Turn.Kind
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LONGEST_MS_FIELD_NUMBER: _ClassVar[int]
    token: bytes
    kind: Turn.Kind
    index: int
    longest_ms: int
    def __init__(self, token: _Optional[bytes] = ..., kind: _Optional[_Union[Turn.Kind, str]] = ..., index: _Optional[int] = ..., longest_ms: _Optional[int] = ...) -> None: ...

class MemberFacts(_message.Message):
    __slots__ = ("term", "last_index", "members")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    term: int
    last_index: int
    members: _containers.RepeatedCompositeFieldContainer[MemberFact]
    def __init__(self, term: _Optional[int] = ..., last_index: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberFact, _Mapping]]] = ...) -> None: ...

class MemberFact(_message.Message):
    __slots__ = ("id", "match_index", "last_contact_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    match_index: int
    last_contact_ms: int
    def __init__(self, id: _Optional[str] = ..., match_index: _Optional[int] = ..., last_contact_ms: _Optional[int] = ...) -> None: ...

class Fragment(_message.Message):
    __slots__ = ("digest", "offset", "size", "data", "received")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    offset: int
    size: int
    data: bytes
    received: int
    def __init__(self, digest: _Optional[bytes] = ..., offset: _Optional[int] = ..., size: _Optional[int] = ..., data: _Optional[bytes] = ..., received: _Optional[int] = ...) -> None: ...
