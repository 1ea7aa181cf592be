"""What was written meanwhile: by whom, a context variable says, so that asgiref's threads and tasks count.

Connections tell here what they propose and what became of it.  Whoever has to know what a piece of code
wrote, whatever threads it went through, surrounds it with `recording()`.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from raftdjango.exceptions import ClusterUnavailable, TransactionTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Record(dict[str, int]):
    """By alias, the log index of the last entry made; and what became of what was proposed."""

    def __init__(self, outer: Record | None = None) -> None:
        super().__init__()
        self.outer = outer
        self.committed = False
        """Whether a transaction was applied."""
        self.undecided: set[bytes] = set()
        """Proposals that are under way, or of which nobody could tell whether they were made."""

    @property
    def may_have_written(self) -> bool:
        """False only where nothing was committed, and nothing will be."""
        return self.committed or bool(self.undecided)


_record: ContextVar[Record | None] = ContextVar("raftdjango_record", default=None)
_last: ContextVar[Mapping[str, int]] = ContextVar("raftdjango_last_writes", default={})  # noqa: B039 - never changed
"""By alias, as this task or thread has it: what it awaits in asgiref's threads is carried back to it."""


@contextmanager
def recording() -> Iterator[Record]:
    """Note what is written meanwhile: here, or in a thread or task that asgiref or asyncio begins here."""
    record = Record(_record.get())
    token = _record.set(record)
    try:
        yield record
    finally:
        _record.reset(token)


def _records() -> Iterator[Record]:
    record = _record.get()
    while record is not None:
        yield record
        record = record.outer


@contextmanager
def proposing(proposal_id: bytes) -> Iterator[None]:
    """What is proposed within is undecided until it is known what became of it."""
    records = list(_records())
    for record in records:
        record.undecided.add(proposal_id)
    try:
        yield
    except (ClusterUnavailable, TransactionTooLarge):
        _decided(records, proposal_id)
        raise
    # After any other error (`CommitUncertain`, an interruption) it may have been made.
    _decided(records, proposal_id)


def _decided(records: list[Record], proposal_id: bytes) -> None:
    for record in records:
        record.undecided.discard(proposal_id)


def note_commit() -> None:
    """A transaction was applied."""
    for record in _records():
        record.committed = True


def note_write(alias: str, log_index: int) -> None:
    """A connection has made an entry."""
    for record in _records():
        record[alias] = max(log_index, record.get(alias, 0))
    _last.set({**_last.get(), alias: log_index})


def last_noted(alias: str) -> int:
    """Log index of the last entry that this task or thread, or what it awaited, has made; or 0."""
    record = _record.get()
    return max(_last.get().get(alias, 0), record.get(alias, 0) if record is not None else 0)
