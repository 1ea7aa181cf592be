"""What kind of statement a string of SQL is, from its first words.

A mistake here costs clarity, never safety: what writes under a wrong name meets the guard.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class Kind(Enum):
    """How a statement has to be executed."""

    READ = "read"
    WRITE = "write"
    """Rows: captured by the journal."""
    SEQUENCE = "sequence"
    """Rows of `sqlite_sequence`, which cannot carry triggers: travels as a statement."""
    SCHEMA = "schema"
    """DDL: travels as a statement."""
    PRAGMA = "pragma"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    ROLLBACK_TO = "rollback to"
    TRANSACTION = "transaction"
    """BEGIN, COMMIT, END, ROLLBACK."""
    REFUSED = "refused"
    """ATTACH, DETACH, VACUUM."""


_FIRST_WORDS = {
    "SELECT": Kind.READ,
    "VALUES": Kind.READ,
    "EXPLAIN": Kind.READ,
    "INSERT": Kind.WRITE,
    "REPLACE": Kind.WRITE,
    "UPDATE": Kind.WRITE,
    "DELETE": Kind.WRITE,
    "CREATE": Kind.SCHEMA,
    "DROP": Kind.SCHEMA,
    "ALTER": Kind.SCHEMA,
    "REINDEX": Kind.SCHEMA,
    "ANALYZE": Kind.SCHEMA,
    "PRAGMA": Kind.PRAGMA,
    "SAVEPOINT": Kind.SAVEPOINT,
    "RELEASE": Kind.RELEASE,
    "BEGIN": Kind.TRANSACTION,
    "COMMIT": Kind.TRANSACTION,
    "END": Kind.TRANSACTION,
    "ATTACH": Kind.REFUSED,
    "DETACH": Kind.REFUSED,
    "VACUUM": Kind.REFUSED,
}
_IGNORED = r"(?:\s+|;|\(|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))*"
_FIRST_WORD = re.compile(rf"{_IGNORED}([A-Za-z]+)", re.DOTALL)
_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|[A-Za-z_]\w*|[()]""",
    re.DOTALL,
)
_ROLLBACK_TO = re.compile(
    r"ROLLBACK(?:\s+TRANSACTION)?\s+TO(?:\s+SAVEPOINT)?\s+(.+?)\s*;?\s*$", re.IGNORECASE | re.DOTALL
)
_SAVEPOINT_NAME = re.compile(
    r"(?:SAVEPOINT|RELEASE(?:\s+SAVEPOINT)?)\s+(.+?)\s*;?\s*$", re.IGNORECASE | re.DOTALL
)
_OR_FAIL = re.compile(r"\bOR\s+FAIL\b", re.IGNORECASE)
_SEQUENCE_TARGET = re.compile(
    r"\s*(?:UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM|INSERT(?:\s+OR\s+\w+)?\s+INTO|REPLACE\s+INTO)"
    r"\s+(?:[\"`\[]?main[\"`\]]?\s*\.\s*)?[\"`\[']?sqlite_sequence\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=2048)
def classify(sql: str) -> Kind:
    """The kind of `sql`; an unknown word counts as a read, which cannot do harm."""
    match = _FIRST_WORD.match(sql)
    if match is None:
        return Kind.READ
    word = match[1].upper()
    if word == "WITH":
        word = _after_common_tables(sql, match.end())
    if word == "ROLLBACK":
        return Kind.ROLLBACK_TO if _ROLLBACK_TO.search(sql) else Kind.TRANSACTION
    kind = _FIRST_WORDS.get(word, Kind.READ)
    if kind is Kind.WRITE and _SEQUENCE_TARGET.match(sql, match.start(1)):
        return Kind.SEQUENCE
    return kind


@lru_cache(maxsize=2048)
def may_fail_halfway(sql: str) -> bool:
    """Whether it keeps the rows that it wrote before it failed."""
    return "fail" in sql.lower() and _OR_FAIL.search(sql) is not None


def savepoint_name(sql: str) -> str:
    """The savepoint that a SAVEPOINT, RELEASE or ROLLBACK TO names, as SQLite compares names."""
    match = _ROLLBACK_TO.search(sql) or _SAVEPOINT_NAME.search(sql)
    if match is None:
        return ""
    name = match[1]
    if name[0] in "\"'`[":
        name = name[1:-1]
    return name.lower()


def _after_common_tables(sql: str, position: int) -> str:
    """The verb that a WITH clause leads up to."""
    depth = 0
    for token in _TOKEN.finditer(sql, position):
        text = token[0]
        if text == "(":
            depth += 1
        elif text == ")":
            depth -= 1
        elif depth == 0 and text.upper() in {
            "SELECT",
            "VALUES",
            "INSERT",
            "REPLACE",
            "UPDATE",
            "DELETE",
        }:
            return text.upper()
    return "SELECT"
