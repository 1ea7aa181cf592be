"""What a block has read so far, so that it can be read again on another snapshot."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from raftdjango.backends.sqlite3.reads.differences import Difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

READS_MAX = 1_000
BYTES_MAX = 64 * 1024 * 1024
KEPT_BYTES_MAX = 1_000
"""Of the rows of one result."""


class ResultDigest:
    """Names what a query returned, and says about how many bytes that was."""

    def __init__(self, rows: Iterable[tuple[Any, ...]] = ()) -> None:
        self._state = blake2b(digest_size=16)
        self.size = 0
        self.rows: list[tuple[Any, ...]] | None = []
        """Themselves, while they are few: they tell which of them has changed."""
        self.add(rows)

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """More rows of the result."""
        for row in rows:
            shown = repr(row).encode("utf-8", "surrogatepass")
            self.size += len(shown)
            self._state.update(shown)
            if self.rows is not None:
                self.rows.append(row)
                if self.size > KEPT_BYTES_MAX:
                    self.rows = None

    @property
    def value(self) -> bytes:
        """Equal for equal results."""
        return self._state.digest()


class ReadMemory:
    """Queries of a block and digests of their results, bounded in number and bytes."""

    def __init__(self) -> None:
        self._reads: list[tuple[str, Any, bytes, list[tuple[Any, ...]] | None]] = []
        self._bytes = 0
        self.complete = True
        """False once there were too many: then another snapshot cannot be proved to be alike."""

    def remember(self, sql: str, parameters: Any, result: ResultDigest) -> None:
        """A query, as Django's cursor was given it, and what it returned."""
        if not self.complete:
            return
        self._bytes += result.size + len(sql)
        if len(self._reads) >= READS_MAX or self._bytes > BYTES_MAX:
            self.give_up()
        else:
            self._reads.append((sql, parameters, result.value, result.rows))

    def give_up(self) -> None:
        """Stop remembering."""
        self.complete = False
        self._reads.clear()

    def difference(
        self, query: Callable[[str, Any], Iterable[tuple[Any, ...]]]
    ) -> Difference | None:
        """Read everything again; the first query that finds something else, if any does."""
        for sql, parameters, digest, rows in self._reads:
            if ResultDigest(query(sql, parameters)).value != digest:
                return Difference(sql, parameters, rows)
        return None
