"""What the text of an INSERT says about the keys of its rows.

In doubt SQLite may choose them: that costs a lease, the other mistake a key that is given twice.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORD = r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*"
_TOKEN = re.compile(
    rf"""\s+ | --[^\n]* | /\*.*?(?:\*/|\Z)
    | (?P<quoted> "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | '(?:[^']|'')*' )
    | (?P<mark> %s | \?(?!\d) )
    | (?P<named> %\([^)]*\)s )
    | (?P<word> {_WORD} )
    | (?P<number> \d+ )
    | (?P<sign> %% | . )""",
    re.VERBOSE | re.DOTALL,
)
_CHANGES_ROWS = re.compile(r"\s*(?:UPDATE|DELETE)\b", re.IGNORECASE)
_MAY_FOLLOW_ROWS = frozenset({"", ";", "ON", "RETURNING"})
REMEMBERED_LENGTH_MAX = 2_000
"""Longer texts are read each time: they seldom come twice."""


class Term(Enum):
    """What stands for a key in a row, if it is no parameter."""

    NULL = True
    NUMBER = False
    ANYTHING = None


Key = Term | int | str
"""Of a row; an int is the place of its parameter, a str the parameter's name."""


class Insert(NamedTuple):
    """An INSERT up to its rows."""

    table: str
    columns: tuple[str, ...]
    """In lower case; none if it does not list them."""
    rows_at: int
    """Where in the text what gives the rows begins."""
    parameters: int
    """How many stand before that."""


class _Token(NamedTuple):
    """What stands between spaces and comments; at the end an empty one, for ever."""

    kind: str
    text: str
    start: int

    @property
    def word(self) -> str:
        """A keyword or sign, in capitals; None of them is quoted."""
        return self.text.upper() if self.kind != "quoted" else "quoted"

    @property
    def name(self) -> str:
        """An identifier without its quotes."""
        if self.kind != "quoted":
            return self.text
        quote, name = self.text[0], self.text[1:-1]
        return name if quote == "[" else name.replace(2 * quote, quote)


def read_insert(sql: str) -> Insert | None:
    """Read it up to its rows; None if it is no INSERT."""
    if _CHANGES_ROWS.match(sql):
        return None
    return (_insert if len(sql) <= REMEMBERED_LENGTH_MAX else _insert.__wrapped__)(sql)


def read_keys(sql: str, insert: Insert, place: int | None, width: int) -> Sequence[Key] | None:
    """The keys of the rows that it lists; None if a query gives the rows.

    `place`: of the key among the `width` values of a row; None if rows leave it out.
    """
    read = _keys if len(sql) <= REMEMBERED_LENGTH_MAX else _keys.__wrapped__
    return read(sql, insert, place, width)


def is_null(key: Key, parameters: Any) -> bool | None:
    """Whether the key of a row is NULL; None if only SQLite could tell."""
    if isinstance(key, Term):
        null: bool | None = key.value
        return null
    try:
        value = parameters[key]
    except (LookupError, TypeError):
        return None
    if value is None:
        return True
    # Not so others: a NaN is stored as NULL, and what the driver adapts may become anything.
    return False if type(value) in {int, str} else None


def _tokens(sql: str, start: int = 0) -> Iterator[_Token]:
    for found in _TOKEN.finditer(sql, start):
        if found.lastgroup is not None:
            yield _Token(found.lastgroup, found[0], found.start())
    while True:
        yield _Token("sign", "", len(sql))


@lru_cache(maxsize=512)
def _insert(sql: str) -> Insert | None:
    tokens = _tokens(sql)
    depth = parameters = 0
    # No name is INTO without quotes, and outside of parentheses it follows INSERT or REPLACE alone.
    while (token := next(tokens)).word != "INTO" or depth:
        if not token.text:
            return None
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        parameters += token.kind == "mark"
    table, following = next(tokens), next(tokens)
    if following.word == ".":
        table, following = next(tokens), next(tokens)
    if following.word == "AS":
        following = (next(tokens), next(tokens))[1]
    columns: list[str] = []
    if following.word == "(":
        while (token := next(tokens)).word not in {")", ""}:
            if token.word != ",":
                columns.append(token.name.lower())
        following = next(tokens)
    return Insert(table.name, tuple(columns), following.start, parameters)


@lru_cache(maxsize=512)
def _keys(sql: str, insert: Insert, place: int | None, width: int) -> tuple[Key, ...] | None:
    if rows := _alike(sql, insert, width):
        if place is None:
            return (Term.NULL,) * rows
        first = insert.parameters + place
        return tuple(range(first, first + rows * width, width))
    tokens = _tokens(sql, insert.rows_at)
    word = next(tokens).word
    if word == "DEFAULT":
        return (Term.NULL,)
    if word != "VALUES":
        return None
    keys: list[Key] = []
    parameters, following = insert.parameters, ","
    while following == ",":
        if next(tokens).word != "(":
            return None
        key, parameters = _key_of_row(tokens, place, parameters)
        keys.append(key)
        following = next(tokens).word
    return tuple(keys) if following in _MAY_FOLLOW_ROWS else None


def _alike(sql: str, insert: Insert, width: int) -> int:
    """How many rows there are, if all consist of parameters and nothing else, as Django writes them."""
    if not sql.startswith("VALUES (", insert.rows_at):
        return 0
    row, start = f"({', '.join(['%s'] * width)})", insert.rows_at + len("VALUES ")
    count = sql.count(row, start)
    rows = ", ".join([row] * count)
    if not count or not sql.startswith(rows, start):
        return 0
    following = next(_tokens(sql, start + len(rows))).word
    return count if following in _MAY_FOLLOW_ROWS else 0


def _key_of_row(tokens: Iterator[_Token], place: int | None, parameters: int) -> tuple[Key, int]:
    """Read on to the end of a row: its key, and how many parameters stand before that end."""
    depth, column, before = 1, 0, 0
    term: list[_Token] = []
    while (token := next(tokens)).text:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if not depth:
            break
        if token.word == "," and depth == 1:
            column += 1
        elif column == place:
            before = before if term else parameters
            term.append(token)
        parameters += token.kind == "mark"
    return (Term.NULL if place is None else _key(term, before)), parameters


def _key(term: Sequence[_Token], parameters_before: int) -> Key:
    if len(term) != 1:
        return Term.ANYTHING
    (token,) = term
    if token.kind == "mark":
        return parameters_before
    if token.kind == "named":
        return token.text[2:-2]
    if token.kind == "number":
        return Term.NUMBER
    return Term.NULL if token.word == "NULL" else Term.ANYTHING
