"""Querysets that carry what they ask of the view they are read on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models

from raftdjango.consistency.levels import (
    Level,
    at_least_level,
    bounded_level,
    linearizable_level,
)
from raftdjango.consistency.scopes import Consistency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

M = TypeVar("M", bound=models.Model)


class ConsistentQuerySet(models.QuerySet[M]):
    """`.linearizable()`, `.bounded(seconds)`, `.at_least(index)` and `.local()`.

    What is fetched along with the rows, by `prefetch_related()`, is as fresh.  As a part of another
    query it is not evaluated, so that what it asks for would be forgotten: an error.
    """

    _level: Level | None = None

    def linearizable(self, *, timeout_s: float | None = None) -> Self:
        """Shows all that was acknowledged before it is evaluated."""
        return self._at(linearizable_level(timeout_s))

    def bounded(self, seconds: float, *, timeout_s: float | None = None) -> Self:
        """Shows all that was acknowledged so many seconds before it is evaluated, or earlier."""
        return self._at(bounded_level(seconds, timeout_s))

    def at_least(self, index: int, *, timeout_s: float | None = None) -> Self:
        """Shows the database as of this log index, or later."""
        return self._at(at_least_level(index, timeout_s))

    def local(self) -> Self:
        """Shows what this machine has, at once."""
        return self._at(Level())

    def _at(self, level: Level) -> Self:
        chained: Self = self._chain()  # type: ignore[attr-defined]
        chained._level = level
        return chained

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone._level = self._level
        return clone

    @property
    def _consistency(self) -> Consistency:
        assert self._level is not None
        return Consistency(self._level, self.db)

    # -- parts of other queries -----------------------------------------------------------------

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        """As Django has it."""
        _check_part(self, None)
        return super().resolve_expression(*args, **kwargs)

    def _combinator_query(self, combinator: str, *other_qs: Any, all: bool = False) -> Any:  # noqa: A002 - Django's
        for other in other_qs:
            _check_part(other, self._level)
        return super()._combinator_query(combinator, *other_qs, all=all)  # type: ignore[misc]

    def __and__(self, other: Any) -> Any:
        _check_part(other, self._level)
        return super().__and__(other)

    def __or__(self, other: Any) -> Any:
        _check_part(other, self._level)
        return super().__or__(other)

    def __xor__(self, other: Any) -> Any:
        _check_part(other, self._level)
        return super().__xor__(other)

    # -- whatever reads -------------------------------------------------------------------------

    def _fetch_all(self) -> None:
        if self._level is None or self._result_cache is not None:
            super()._fetch_all()
        else:
            with self._consistency:
                super()._fetch_all()

    def iterator(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As Django has it."""
        rows = super().iterator(*args, **kwargs)
        return rows if self._level is None else self._advanced(rows)

    def _advanced(self, rows: Iterator[Any]) -> Iterator[Any]:
        # Between two rows the caller's own reads are not this query's business.
        end = object()
        while True:
            with self._consistency:
                row = next(rows, end)
            if row is end:
                return
            yield row

    async def aiterator(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """As Django has it."""
        rows = super().aiterator(*args, **kwargs)
        if self._level is None:
            async for row in rows:
                yield row
            return
        end: Any = object()
        while True:
            with self._consistency:
                row = await anext(rows, end)
            if row is end:
                return
            yield row

    def _consistently(self, name: str, args: Any, kwargs: Any) -> Any:
        method = getattr(super(), name)
        if self._level is None:
            return method(*args, **kwargs)
        with self._consistency:
            return method(*args, **kwargs)

    def aggregate(self, *args: Any, **kwargs: Any) -> Any:
        """As Django has it."""
        return self._consistently("aggregate", args, kwargs)

    def count(self) -> int:
        """As Django has it."""
        return int(self._consistently("count", (), {}))

    def exists(self) -> bool:
        """As Django has it."""
        return bool(self._consistently("exists", (), {}))

    def contains(self, obj: Any) -> bool:
        """As Django has it."""
        return bool(self._consistently("contains", (obj,), {}))

    def explain(self, *args: Any, **kwargs: Any) -> Any:
        """As Django has it."""
        return self._consistently("explain", args, kwargs)

    def update(self, **kwargs: Any) -> int:
        """As Django has it; which rows it finds is a read."""
        return int(self._consistently("update", (), kwargs))

    def delete(self) -> Any:
        """As Django has it; which rows it finds is a read."""
        return self._consistently("delete", (), {})

    # Django marks these, so that templates and related managers do not call or offer them.
    update.alters_data = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


def _check_part(part: Any, whole: Level | None) -> None:
    level = getattr(part, "_level", None)
    if level is not None and level != whole:
        raise ValueError(
            f"A queryset that is to be {level} becomes part of another query, which is what will be "
            "read. Ask for it there, or put the code into a block of raftdjango.consistency."
        )


class ConsistentManager(models.Manager.from_queryset(ConsistentQuerySet)):  # type: ignore[misc]
    """A manager of such querysets: `objects = ConsistentManager()`."""
