"""What `random()`, `CURRENT_TIMESTAMP` and `'now'` mean while a statement is applied.

Statements (DDL, the schema editor's copying) run on every node, so whatever they draw from the
machine is replaced by functions that compute it from the entry's `Pins`.  What cannot be replaced
is named by `unpinnable()`, and the backend refuses it before it gets into the log.

SQLite cannot give a built-in function back once it has been replaced, so the replacements stay on
the connection and look at what is pinned now.
"""

from __future__ import annotations

import atexit
import random
import re
import sqlite3
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftdjango.writeset.parts import Pins

RANDOM_BYTES_MAX = 1_000_000_000
_NOW = "now"
_SUBSECOND = frozenset({"subsec", "subsecond"})
_LOCAL_TIME = frozenset({"localtime", "utc"})
_TIME_ARGUMENTS = {
    # Where a time value may stand among the arguments of each function.
    "date": (0,),
    "time": (0,),
    "datetime": (0,),
    "julianday": (0,),
    "unixepoch": (0,),
    "strftime": (1,),
    "timediff": (0, 1),
}
_CURRENT = {
    "current_timestamp": slice(0, 19),
    "current_date": slice(0, 10),
    "current_time": slice(11, 19),
}

FORBIDDEN_FUNCTIONS = {
    "changes": "depends on what the connection did before",
    "last_insert_rowid": "depends on what the connection did before",
    "total_changes": "depends on what the connection did before",
    "load_extension": "loads code into one node only",
    "fts3_tokenizer": "loads code into one node only",
    "readfile": "reads a file of one node",
    "writefile": "writes a file of one node",
    "edit": "starts a program on one node",
    "sqlite_compileoption_get": "depends on how SQLite was built",
    "sqlite_compileoption_used": "depends on how SQLite was built",
    "sqlite_offset": "depends on how the file is laid out",
    "sqlite_source_id": "depends on the version of SQLite",
    "sqlite_version": "depends on the version of SQLite",
}
_FORBIDDEN_TABLES = {
    "bytecode": "depends on the version of SQLite",
    "dbstat": "depends on how the file is laid out",
    "sqlite_dbpage": "depends on how the file is laid out",
    "sqlite_stmt": "depends on the connection",
    "tables_used": "depends on the version of SQLite",
}


class _RandomBytes:
    """An endless stream of bytes that a seed decides, the same in every version of Python."""

    def __init__(self, seed: bytes) -> None:
        self._seed = blake2b(seed).digest()
        self._blocks = 0
        self._buffer = b""

    def take(self, count: int) -> bytes:
        first = self._blocks
        self._blocks += max(0, -(-(count - len(self._buffer)) // 64))
        self._buffer += b"".join(
            blake2b(block.to_bytes(8, "big"), key=self._seed).digest()
            for block in range(first, self._blocks)
        )
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


@lru_cache(maxsize=1)
def _builtin() -> sqlite3.Connection:
    """A connection that still has SQLite's own functions, to compute what the replaced ones do."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    atexit.register(connection.close)
    return connection


class Pinning:
    """Puts the replacements on a connection; `pinned()` says what they give."""

    def __init__(
        self, connection: sqlite3.Connection, *, outside: Literal["real", "refused"] = "real"
    ) -> None:
        """While nothing is pinned the functions behave as SQLite's own (`real`), or fail where
        they would draw from the machine (`refused`): the applier's rule, since a column's default
        or a CHECK could otherwise bring each node's own time into a row.
        """
        self._connection = connection
        self._outside = outside
        self._now: str | None = None
        self._random: _RandomBytes | None = None
        self._installed = False
        if outside == "refused":
            self._install()

    @contextmanager
    def pinned(self, pins: Pins) -> Iterator[None]:
        """For the statement executed inside, the functions compute from these pins."""
        self._install()
        before = self._now, self._random
        self._now, self._random = pins.now, _RandomBytes(pins.random_seed)
        try:
            yield
        finally:
            self._now, self._random = before

    def _install(self) -> None:
        if self._installed:
            return
        create = self._connection.create_function
        for name in _CURRENT:
            create(name, 0, self._current(name), deterministic=True)
        known = {row[0] for row in _builtin().execute("SELECT name FROM pragma_function_list")}
        for name in _TIME_ARGUMENTS:
            if name in known:
                create(name, -1, self._time_function(name), deterministic=True)
        create("random", 0, self._random_integer)
        create("randomblob", 1, self._random_blob)
        create("rand", 0, self._random_fraction)  # Django's
        self._installed = True

    def _refuse(self, what: str) -> None:
        if self._outside == "refused":
            raise ValueError(f"{what} would differ from node to node.")

    def _current(self, name: str) -> Any:
        part = _CURRENT[name]

        def current() -> Any:
            if self._now is not None:
                return self._now[part]
            self._refuse(name)
            return _builtin().execute(f"SELECT {name}").fetchone()[0]

        return current

    def _time_function(self, name: str) -> Any:
        places = _TIME_ARGUMENTS[name]

        def compute(*arguments: Any) -> Any:
            values = [_as_sqlite_reads(argument) for argument in arguments]
            if len(values) == places[0]:
                values.append(_NOW)
            first = values[places[0]] if len(values) > places[0] else None
            if isinstance(first, str) and first.lower() in _SUBSECOND and len(places) == 1:
                values.insert(places[0], _NOW)
            for place in places:
                if len(values) > place and isinstance(values[place], str):
                    values[place] = self._time_value(name, values[place])
            for value in values[places[-1] + 1 :]:
                if isinstance(value, str) and value.strip().lower() in _LOCAL_TIME:
                    self._local_time(value)
            marks = ", ".join("?" * len(values))
            return _builtin().execute(f"SELECT {name}({marks})", values).fetchone()[0]

        return compute

    def _time_value(self, name: str, value: str) -> str:
        if value.lower() != _NOW:
            return value
        if self._now is not None:
            return self._now
        self._refuse(f"{name}('now')")
        return value

    def _local_time(self, modifier: str) -> None:
        if self._now is not None or self._outside == "refused":
            raise ValueError(f"'{modifier}' depends on the time zone of the machine.")

    def _random_integer(self) -> int:
        return int.from_bytes(self._bytes("random()", 8), "big", signed=True)

    def _random_blob(self, count: Any) -> bytes:
        # SQLite: fewer than one byte is one byte.
        return self._bytes("randomblob()", min(max(int(count or 0), 1), RANDOM_BYTES_MAX))

    def _random_fraction(self) -> float:
        return (int.from_bytes(self._bytes("RAND()", 7), "big") >> 3) / 2**53

    def _bytes(self, what: str, count: int) -> bytes:
        if self._random is not None:
            return self._random.take(count)
        self._refuse(what)
        return random.SystemRandom().randbytes(count)


def _as_sqlite_reads(argument: Any) -> Any:
    """A blob is read as text, and text up to its first NUL: both can spell 'now'."""
    if isinstance(argument, bytes):
        argument = argument.decode("utf-8", "replace")
    return argument.partition("\0")[0] if isinstance(argument, str) else argument


_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)            # comments
    |'(?P<text>(?:[^']|'')*)'               # a string
    |"(?P<quoted>(?:[^"]|"")*)"|`(?P<tick>(?:[^`]|``)*)`|\[(?P<bracket>[^\]]*)\]
    |(?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*)
    |(?P<mark>[^\s])""",
    re.VERBOSE | re.DOTALL,
)


def _tokens(sql: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup
        if kind is not None:
            yield ("name" if kind in {"quoted", "tick", "bracket"} else kind), match[kind]


def unpinnable(sql: str) -> str | None:
    """Why a statement could give different results on different nodes; None: it cannot.

    Judged by the text alone, on the safe side: a column that has the name of a table of SQLite's
    that describes one node is refused in vain, nothing is let through by a quoted name.
    """
    tokens = [*_tokens(sql), ("mark", "")]
    functions = set()
    local_time = None
    for (kind, value), (_, following) in pairwise(tokens):
        name = value.lower()
        if kind == "text":
            if name.strip() in _LOCAL_TIME:
                local_time = value
            continue
        if kind == "mark":
            continue
        if following == "(":
            functions.add(name)
            if name in FORBIDDEN_FUNCTIONS:
                return f"{name}() {FORBIDDEN_FUNCTIONS[name]}"
        if name.startswith("pragma_"):
            return f"{name} describes one node's database"
        if name in _FORBIDDEN_TABLES:
            return f"{name} {_FORBIDDEN_TABLES[name]}"
    if local_time is not None and functions.intersection(_TIME_ARGUMENTS):
        return f"the modifier '{local_time}' depends on the time zone of the machine"
    return None
