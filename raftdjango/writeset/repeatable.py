"""Which queries say the same wherever the tables they read hold the same rows.

A serializable transaction's queries are executed once more by every node's applier, and what they give
decides the verdict.  So they have to be free of whatever a plan, a build or a version of SQLite may
decide: which rows a LIMIT leaves, which of two equal values DISTINCT keeps, in which order floats are
added, what a user's function does, where an error ends the query.  What is let through is a short
list; anything else is "no", and costs a conflict that was not necessary, never a wrong verdict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from raftdjango.writeset.rows import DIGEST_BYTES, pack_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from raftdjango.writeset.parts import Row

SQL_LENGTH_MAX = 64 * 1024

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | "(?P<name>(?:[^"]|"")+)"
    | (?P<number>\d{1,18}(?![\w.$]))
    | (?P<word>[A-Za-z_][\w$]*)
    | (?P<mark><=|>=|<>|!=|==|=|<(?!<)|>(?!>)|[,()]|[.*](?!\d)|\?(?!\d))
    )\s*""",
    re.VERBOSE | re.ASCII,
)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*", re.IGNORECASE | re.ASCII)
_INTEGER = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ALLOWED_WORDS = _words(
    """AND AS ASC BETWEEN BY CASE CROSS DESC ELSE END EXISTS FIRST FROM IN INNER IS ISNULL JOIN LAST
    LEFT LIMIT NOT NOTNULL NULL NULLS ON OR ORDER OUTER SELECT THEN USING WHEN WHERE"""
)
_REFUSED_WORDS = _words(
    """ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE ATTACH AUTOINCREMENT BEFORE BEGIN CASCADE CAST
    CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CURRENT CURRENT_DATE CURRENT_TIME
    CURRENT_TIMESTAMP DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DETACH DISTINCT DO DROP EACH ESCAPE
    EXCEPT EXCLUDE EXCLUSIVE EXPLAIN FAIL FILTER FOLLOWING FOR FOREIGN FULL GENERATED GLOB GROUP GROUPS
    HAVING IF IGNORE IMMEDIATE INDEX INDEXED INITIALLY INSERT INSTEAD INTERSECT INTO KEY LIKE MATCH
    MATERIALIZED NATURAL NO NOTHING OF OFFSET OTHERS OVER PARTITION PLAN PRAGMA PRECEDING PRIMARY QUERY
    RAISE RANGE RECURSIVE REFERENCES REGEXP REINDEX RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT
    ROLLBACK ROW ROWS SAVEPOINT SET TABLE TEMP TEMPORARY TIES TO TRANSACTION TRIGGER UNBOUNDED UNION
    UNIQUE UPDATE VACUUM VALUES VIEW VIRTUAL WINDOW WITH WITHIN WITHOUT"""
)
"""All other words that mean something to SQLite; as a name, each of them can be quoted."""
_REFUSED_NAMES = frozenset(
    {
        "rowid",
        "oid",
        "_rowid_",
        "temp",
        "dbstat",
        "bytecode",
        "tables_used",
        "json_each",
        "json_tree",
    }
)
_REFUSED_PREFIXES = ("raftdjango_", "sqlite_", "pragma_")
_FUNCTIONS = frozenset({"COALESCE", "IFNULL", "NULLIF"})
_BEFORE_PARENTHESIS = _FUNCTIONS | _words(
    "AND BETWEEN BY CASE ELSE EXISTS FROM IN IS JOIN NOT ON OR SELECT THEN USING WHEN WHERE"
)
_BEFORE_SUBQUERY = frozenset({"EXISTS", "FROM", "IN", "JOIN"})
"""Elsewhere a subquery stands for its first row, whichever that is."""


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A query that can be repeated, and what its result must be for that."""

    limit: int | None
    """It gave fewer rows than this; else which rows it gave is a matter of the plan."""

    def is_whole(self, row_count: int) -> bool:
        """Whether a result of so many rows depends on the tables alone."""
        return self.limit is None or row_count < self.limit


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    """Words in capitals."""


_END = _Token("end", "")


def is_exact(text: str) -> bool:
    """Whether SQLite, should it make a number of the text, makes an integer: versions of it do not
    agree on the last bit of others.
    """
    return _NUMBER.fullmatch(text) is None or _INTEGER.fullmatch(text) is not None


def may_be_parameters(parameters: Row) -> bool:
    """Whether a repeatable query stays one with these parameters."""
    return all(type(p) is not float and (type(p) is not str or is_exact(p)) for p in parameters)


@lru_cache(maxsize=4096)
def repeatable(sql: str) -> Repeatable | None:
    """What has to be known of a query to repeat it; None: it must not be."""
    tokens = _tokens(sql) if len(sql) <= SQL_LENGTH_MAX else None
    if not tokens or tokens[0].text != "SELECT" or tokens[0].kind != "word":
        return None
    reader = _Reader(tokens)
    if not reader.accepts(_after_count(tokens)):
        return None
    return Repeatable(None if _gives_a_constant(tokens) else reader.limit)


def _tokens(sql: str) -> list[_Token] | None:
    """None where something in the text is not on the list."""
    tokens = []
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            return None
        position = match.end()
        kind = str(match.lastgroup)
        text = match[kind].upper() if kind == "word" else match[kind]
        if kind == "word" and text in _REFUSED_WORDS:
            return None
        if kind in {"word", "name"} and _is_refused_name(text.lower()):
            return None
        if kind == "text" and not is_exact(text[1:-1]):
            return None
        tokens.append(_Token(kind, text))
    return tokens


def _is_refused_name(name: str) -> bool:
    # A quoted name that is none is a text to SQLite.
    return name in _REFUSED_NAMES or name.startswith(_REFUSED_PREFIXES) or not is_exact(name)


def _is_word(token: _Token, *texts: str) -> bool:
    return token.kind == "word" and token.text in texts


def _is_mark(token: _Token, *texts: str) -> bool:
    return token.kind == "mark" and token.text in texts


def _after_count(tokens: list[_Token]) -> int:
    """Behind `SELECT COUNT(...)` with nothing else selected; 1 for other queries.

    Beside an aggregate, a column would be that of any row.
    """
    if len(tokens) < 5 or not _is_word(tokens[1], "COUNT") or not _is_mark(tokens[2], "("):
        return 1
    end = 3
    while end < len(tokens) and (
        tokens[end].kind in {"name", "word"} or _is_mark(tokens[end], ".", "*")
    ):
        end += 1
    if end == len(tokens) or not _is_mark(tokens[end], ")"):
        return 1
    end += 1
    rest = tokens[end : end + 3]
    if rest and _is_word(rest[0], "FROM"):
        return end
    if len(rest) == 3 and _is_word(rest[0], "AS") and _is_word(rest[2], "FROM"):
        return end + 2
    return 1


def _gives_a_constant(tokens: list[_Token]) -> bool:
    """`SELECT 1 [AS a] FROM`: its rows are all alike, so that a LIMIT leaves no choice."""
    following = [*tokens[1:5], _END, _END, _END]
    if following[0].kind != "number" and not _is_mark(following[0], "?"):
        return False
    if _is_word(following[1], "AS"):
        return _is_word(following[3], "FROM")
    return _is_word(following[1], "FROM")


class _Reader:
    """Goes through the tokens of a query and says whether each may stand where it stands."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._opened: list[_Token] = []
        """What stood before each parenthesis that is open."""
        self.limit: int | None = None
        """The query's own."""
        self._rules: dict[tuple[str, str], Callable[[int], bool]] = {
            ("mark", "("): self._open,
            ("mark", ")"): self._close,
            ("mark", "*"): self._star,
            ("mark", "."): self._dot,
            ("word", "SELECT"): lambda place: _is_mark(self._at(place - 1), "("),
            ("word", "LIMIT"): self._limit,
        }

    def accepts(self, start: int) -> bool:
        """Whether all is well from `start` on."""
        for place in range(start, len(self._tokens)):
            token = self._tokens[place]
            rule = self._rules.get((token.kind, token.text))
            if rule is not None and not rule(place):
                return False
        return not self._opened

    def _at(self, place: int) -> _Token:
        return self._tokens[place] if place < len(self._tokens) else _END

    def _open(self, place: int) -> bool:
        before = self._at(place - 1)
        self._opened.append(before)
        if _is_word(self._at(place + 1), "SELECT"):
            return _is_word(before, *_BEFORE_SUBQUERY)
        if before.kind == "mark":
            return before.text not in {")", "?", "*", "."}
        return _is_word(before, *_BEFORE_PARENTHESIS)

    def _close(self, place: int) -> bool:
        if not self._opened:
            return False
        self._opened.pop()
        return True

    def _star(self, place: int) -> bool:
        """As columns; nothing is multiplied here."""
        before, following = self._at(place - 1), self._at(place + 1)
        columns = _is_word(before, "SELECT") or _is_mark(before, ",", ".")
        return columns and (_is_word(following, "FROM") or _is_mark(following, ","))

    def _dot(self, place: int) -> bool:
        following = self._at(place + 1)
        return following.kind in {"name", "word"} or _is_mark(following, "*")

    def _limit(self, place: int) -> bool:
        number, end = self._at(place + 1), self._at(place + 2)
        if number.kind != "number":
            return False
        if self._opened:
            # Whether there is a row does not depend on how many may come.
            return _is_word(self._opened[-1], "EXISTS") and _is_mark(end, ")")
        self.limit = int(number.text)
        return end is _END


@lru_cache(maxsize=1024)
def storage_sql(sql: str, columns: int) -> str:
    """The query's rows as storage classes, whatever a connection's converters would make of them.

    Columns of a UNION have the declared types of its first part, which here has none.
    """
    nothing = ", ".join(["NULL"] * columns)
    return f"SELECT {nothing} WHERE 0 UNION ALL SELECT * FROM ({sql})"  # noqa: S608 - `repeatable`


def rows_digest(rows: Iterable[Row]) -> bytes:
    """Names a result in 16 bytes: equal digests, the same rows in whatever order."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for row in sorted(map(pack_row, rows)):
        digest.update(row)
    return digest.digest()
