"""Which queries say the same wherever the tables they read hold the same rows.

A serializable transaction's queries are executed once more by every node's applier, and what they give
decides the verdict.  So they have to be free of whatever a plan, a build or a version of SQLite may
decide: which rows a LIMIT leaves, which of two equal values DISTINCT keeps, in which order floats are
added, what a user's function does, where an error ends the query.  And since nobody can interrupt a verdict,
the text has to promise that repeating it is a matter of its table's size whatever rows others put into
it, and whatever plan is made: one table, looked through once at most.  A join or a subquery that took
no time may take the product of two sizes a moment later.  What is let through is a short list;
anything else is "no", and costs a conflict that was not necessary, never a wrong verdict.
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
    """AND AS ASC BETWEEN BY CASE DESC ELSE END FIRST FROM IN IS ISNULL LAST LIMIT NOT NOTNULL NULL
    NULLS OR ORDER SELECT THEN WHEN WHERE"""
)
_REFUSED_WORDS = _words(
    """ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE ATTACH AUTOINCREMENT BEFORE BEGIN CASCADE CAST
    CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME
    CURRENT_TIMESTAMP DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DETACH DISTINCT DO DROP EACH ESCAPE
    EXCEPT EXCLUDE EXCLUSIVE EXISTS EXPLAIN FAIL FILTER FOLLOWING FOR FOREIGN FULL GENERATED GLOB GROUP GROUPS
    HAVING IF IGNORE IMMEDIATE INDEX INDEXED INITIALLY INNER INSERT INSTEAD INTERSECT INTO JOIN KEY LEFT LIKE MATCH
    MATERIALIZED NATURAL NO NOTHING OF OFFSET ON OTHERS OUTER OVER PARTITION PLAN PRAGMA PRECEDING PRIMARY QUERY
    RAISE RANGE RECURSIVE REFERENCES REGEXP REINDEX RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT
    ROLLBACK ROW ROWS SAVEPOINT SET TABLE TEMP TEMPORARY TIES TO TRANSACTION TRIGGER UNBOUNDED UNION
    UNIQUE UPDATE USING VACUUM VALUES VIEW VIRTUAL WINDOW WITH WITHIN WITHOUT"""
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
    "AND BETWEEN BY CASE ELSE IN IS NOT OR SELECT THEN WHEN WHERE"
)
_AFTER_TABLE = ("WHERE", "ORDER", "LIMIT")


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A query that can be repeated, and what its result must be for that."""

    limit: int | None
    """It gave fewer rows than this; else which rows it gave is a matter of the plan."""
    order_is_hidden: bool = False
    """It is ordered by something that its rows do not hold: the same rows may come in another order."""

    def is_whole(self, row_count: int) -> bool:
        """Whether a result of so many rows depends on the tables alone."""
        return self.limit is None or row_count < self.limit

    def shows_order(self, row_count: int) -> bool:
        """Whether the same rows, of that number, would have come in the same order, up to ties."""
        return row_count < 2 or not self.order_is_hidden


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
    limit = None if _gives_a_constant(tokens) else reader.limit
    return Repeatable(limit, _order_is_hidden(tokens))


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


def _order_is_hidden(tokens: list[_Token]) -> bool:
    """Whether a term of its ORDER BY is neither a column that it selects nor the place of one.

    A name that is also an alias means what is selected under that alias, so that it is selected
    whatever it means.
    """
    words = [token.text if token.kind == "word" else "" for token in tokens]
    if "ORDER" not in words:
        return False
    ordered, end = words.index("ORDER"), words.index("LIMIT") if "LIMIT" in words else len(words)
    shown: set[tuple[_Token, ...]] = set()
    for item in _split(tokens[1 : words.index("FROM")]):
        named = len(item) > 2 and _is_word(item[-2], "AS")
        shown |= {tuple(item[:-2]), tuple(item[-1:])} if named else {tuple(item)}
    has_all = any(_is_mark(item[-1], "*") for item in shown)
    for term in _split(tokens[ordered + 2 : end]):
        while term and _is_word(term[-1], "ASC", "DESC", "NULLS", "FIRST", "LAST"):
            term.pop()
        is_place = len(term) == 1 and term[0].kind == "number"
        if not (is_place or (_is_column(term) and (has_all or tuple(term) in shown))):
            return True
    return False


def _split(tokens: list[_Token]) -> list[list[_Token]]:
    """At the commas outside of parentheses."""
    parts: list[list[_Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += _is_mark(token, "(") - _is_mark(token, ")")
        if depth == 0 and _is_mark(token, ","):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _is_column(term: list[_Token]) -> bool:
    names, dots = term[::2], term[1::2]
    return all(each.kind in {"name", "word"} for each in names) and all(
        _is_mark(each, ".") for each in dots
    )


class _Reader:
    """Goes through the tokens of a query and says whether each may stand where it stands."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._depth = 0
        """Of parentheses that are open."""
        self._tables = 0
        self.limit: int | None = None
        self._rules: dict[tuple[str, str], Callable[[int], bool]] = {
            ("mark", "("): self._open,
            ("mark", ")"): self._close,
            ("mark", "*"): self._star,
            ("mark", "."): self._dot,
            ("word", "SELECT"): lambda place: False,
            ("word", "FROM"): self._from,
            ("word", "IN"): lambda place: _is_mark(self._at(place + 1), "("),
            ("word", "LIMIT"): self._limit,
        }

    def accepts(self, start: int) -> bool:
        """Whether all is well from `start` on."""
        for place in range(start, len(self._tokens)):
            token = self._tokens[place]
            rule = self._rules.get((token.kind, token.text))
            if rule is not None and not rule(place):
                return False
        return not self._depth and self._tables == 1

    def _at(self, place: int) -> _Token:
        return self._tokens[place] if place < len(self._tokens) else _END

    def _open(self, place: int) -> bool:
        self._depth += 1
        before = self._at(place - 1)
        if before.kind == "mark":
            return before.text not in {")", "?", "*", "."}
        return _is_word(before, *_BEFORE_PARENTHESIS)

    def _close(self, place: int) -> bool:
        self._depth -= 1
        return self._depth >= 0

    def _from(self, place: int) -> bool:
        """One table and nothing else, perhaps under another name."""
        self._tables += 1
        if self._depth or self._at(place + 1).kind not in {"name", "word"}:
            return False
        place += 2
        if _is_mark(self._at(place), "."):
            place += 2
        if _is_word(self._at(place), "AS"):
            place += 1
        following = self._at(place)
        if following.kind in {"name", "word"} and not _is_word(following, *_AFTER_TABLE):
            following = self._at(place + 1)
        return following is _END or _is_word(following, *_AFTER_TABLE)

    def _star(self, place: int) -> bool:
        """As columns; nothing is multiplied here."""
        before, following = self._at(place - 1), self._at(place + 1)
        columns = _is_word(before, "SELECT") or _is_mark(before, ",", ".")
        return columns and (_is_word(following, "FROM") or _is_mark(following, ","))

    def _dot(self, place: int) -> bool:
        following = self._at(place + 1)
        return following.kind in {"name", "word"} or _is_mark(following, "*")

    def _limit(self, place: int) -> bool:
        number = self._at(place + 1)
        if number.kind != "number" or self._depth:
            return False
        self.limit = int(number.text)
        return self._at(place + 2) is _END


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
