"""Replicas that are closed after the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.applier.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def replica() -> Iterator[Callable[..., Replica]]:
    made: list[Replica] = []

    def make(*schema: str, **options: object) -> Replica:
        made.append(Replica(*schema, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.connection.close()
