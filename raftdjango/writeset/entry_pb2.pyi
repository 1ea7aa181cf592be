from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Command(_message.Message):
    __slots__ = ("proposal_id", "expires_at_ms", "write_set", "key_lease", "barrier", "form_cluster", "bind_incarnation", "migration_lock")
    PROPOSAL_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    WRITE_SET_FIELD_NUMBER: _ClassVar[int]
    KEY_LEASE_FIELD_NUMBER: _ClassVar[int]
    BARRIER_FIELD_NUMBER: _ClassVar[int]
    FORM_CLUSTER_FIELD_NUMBER: _ClassVar[int]
    BIND_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    MIGRATION_LOCK_FIELD_NUMBER: _ClassVar[int]
    proposal_id: bytes
    expires_at_ms: int
    write_set: WriteSet
    key_lease: KeyLease
    barrier: Barrier
    form_cluster: FormCluster
    bind_incarnation: BindIncarnation
    migration_lock: MigrationLock
    def __init__(self, proposal_id: _Optional[bytes] = ..., expires_at_ms: _Optional[int] = ..., write_set: _Optional[_Union[WriteSet, _Mapping]] = ..., key_lease: _Optional[_Union[KeyLease, _Mapping]] = ..., barrier: _Optional[_Union[Barrier, _Mapping]] = ..., form_cluster: _Optional[_Union[FormCluster, _Mapping]] = ..., bind_incarnation: _Optional[_Union[BindIncarnation, _Mapping]] = ..., migration_lock: _Optional[_Union[MigrationLock, _Mapping]] = ...) -> None: ...

class WriteSet(_message.Message):
    __slots__ = ("schema_version", "foreign_keys_off", "tables", "operations", "expected_digest", "reads", "fence")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_KEYS_OFF_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    foreign_keys_off: bool
    tables: _containers.RepeatedCompositeFieldContainer[Table]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    expected_digest: bytes
    reads: Reads
    fence: bytes
    def __init__(self, schema_version: _Optional[int] = ..., foreign_keys_off: bool = ..., tables: _Optional[_Iterable[_Union[Table, _Mapping]]] = ..., operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., expected_digest: _Optional[bytes] = ..., reads: _Optional[_Union[Reads, _Mapping]] = ..., fence: _Optional[bytes] = ...) -> None: ...

class Reads(_message.Message):
    __slots__ = ("log_index", "tables", "queries")
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    log_index: int
    tables: _containers.RepeatedScalarFieldContainer[str]
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    def __init__(self, log_index: _Optional[int] = ..., tables: _Optional[_Iterable[str]] = ..., queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("sql", "parameters", "columns", "row_count", "digest", "tables")
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    sql: str
    parameters: bytes
    columns: int
    row_count: int
    digest: bytes
    tables: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, sql: _Optional[str] = ..., parameters: _Optional[bytes] = ..., columns: _Optional[int] = ..., row_count: _Optional[int] = ..., digest: _Optional[bytes] = ..., tables: _Optional[_Iterable[str]] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("name", "columns", "key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    key: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., key: _Optional[_Iterable[int]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("kind", "table", "key", "before", "columns", "new", "returning", "sql", "parameters", "pins", "expected_rows", "returning_names")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Operation.Kind]
        INSERT: _ClassVar[Operation.Kind]
        UPDATE: _ClassVar[Operation.Kind]
        DELETE: _ClassVar[Operation.Kind]
        READ: _ClassVar[Operation.Kind]
        STATEMENT: _ClassVar[Operation.Kind]
        BLIND_INSERT: _ClassVar[Operation.Kind]
        BLIND_UPDATE: _ClassVar[Operation.Kind]
        BLIND_DELETE: _ClassVar[Operation.Kind]
    UNSPECIFIED: Operation.Kind
    INSERT: Operation.Kind
    UPDATE: Operation.Kind
    DELETE: Operation.Kind
    READ: Operation.Kind
    STATEMENT: Operation.Kind
    BLIND_INSERT: Operation.Kind
    BLIND_UPDATE: Operation.Kind
    BLIND_DELETE: Operation.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    RETURNING_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PINS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ROWS_FIELD_NUMBER: _ClassVar[int]
    RETURNING_NAMES_FIELD_NUMBER: _ClassVar[int]
    kind: Operation.Kind
    table: int
    key: bytes
    before: bytes
    columns: _containers.RepeatedScalarFieldContainer[int]
    new: bytes
    returning: _containers.RepeatedScalarFieldContainer[int]
    sql: str
    parameters: bytes
    pins: Pins
    expected_rows: int
    returning_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[_Union[Operation.Kind, str]] = ..., table: _Optional[int] = ..., key: _Optional[bytes] = ..., before: _Optional[bytes] = ..., columns: _Optional[_Iterable[int]] = ..., new: _Optional[bytes] = ..., returning: _Optional[_Iterable[int]] = ..., sql: _Optional[str] = ..., parameters: _Optional[bytes] = ..., pins: _Optional[_Union[Pins, _Mapping]] = ..., expected_rows: _Optional[int] = ..., returning_names: _Optional[_Iterable[str]] = ...) -> None: ...

class Pins(_message.Message):
    __slots__ = ("random_seed", "now")
    RANDOM_SEED_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    random_seed: bytes
    now: str
    def __init__(self, random_seed: _Optional[bytes] = ..., now: _Optional[str] = ...) -> None: ...

class KeyLease(_message.Message):
    __slots__ = ("table", "count")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    table: str
    count: int
    def __init__(self, table: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Barrier(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FormCluster(_message.Message):
    __slots__ = ("cluster_id", "nodes", "group")
    class NodesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    nodes: _containers.ScalarMap[str, str]
    group: str
    def __init__(self, cluster_id: _Optional[bytes] = ..., nodes: _Optional[_Mapping[str, str]] = ..., group: _Optional[str] = ...) -> None: ...

class BindIncarnation(_message.Message):
    __slots__ = ("node_id", "incarnation")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    incarnation: bytes
    def __init__(self, node_id: _Optional[str] = ..., incarnation: _Optional[bytes] = ...) -> None: ...

class MigrationLock(_message.Message):
    __slots__ = ("release", "holder", "until_ms", "renew")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    release: bool
    holder: bytes
    until_ms: int
    renew: bool
    def __init__(self, release: bool = ..., holder: _Optional[bytes] = ..., until_ms: _Optional[int] = ..., renew: bool = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("kind", "table", "key", "message", "row_count", "rows", "first_key", "granted")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Verdict.Kind]
        APPLIED: _ClassVar[Verdict.Kind]
        CONFLICT: _ClassVar[Verdict.Kind]
        INTEGRITY_ERROR: _ClassVar[Verdict.Kind]
        CONSTRAINT_CONFLICT: _ClassVar[Verdict.Kind]
        EXPIRED: _ClassVar[Verdict.Kind]
        OPERATIONAL_ERROR: _ClassVar[Verdict.Kind]
    UNSPECIFIED: Verdict.Kind
    APPLIED: Verdict.Kind
    CONFLICT: Verdict.Kind
    INTEGRITY_ERROR: Verdict.Kind
    CONSTRAINT_CONFLICT: Verdict.Kind
    EXPIRED: Verdict.Kind
    OPERATIONAL_ERROR: Verdict.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FIRST_KEY_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    kind: Verdict.Kind
    table: str
    key: bytes
    message: str
    row_count: int
    rows: _containers.RepeatedScalarFieldContainer[bytes]
    first_key: int
    granted: bool
    def __init__(self, kind: _Optional[_Union[Verdict.Kind, str]] = ..., table: _Optional[str] = ..., key: _Optional[bytes] = ..., message: _Optional[str] = ..., row_count: _Optional[int] = ..., rows: _Optional[_Iterable[bytes]] = ..., first_key: _Optional[int] = ..., granted: bool = ...) -> None: ...
