from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Chunk(_message.Message):
    __slots__ = ("message", "sha256", "offset", "data", "crc")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC_FIELD_NUMBER: _ClassVar[int]
    message: bytes
    sha256: bytes
    offset: int
    data: bytes
    crc: int
    def __init__(self, message: _Optional[bytes] = ..., sha256: _Optional[bytes] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., crc: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("follower", "term", "session", "index", "verdict", "offset")
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    follower: str
    term: int
    session: int
    index: int
    verdict: int
    offset: int
    def __init__(self, follower: _Optional[str] = ..., term: _Optional[int] = ..., session: _Optional[int] = ..., index: _Optional[int] = ..., verdict: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...
