"""Fixtures for pytest: `pytest_plugins = ["raftdjango.testing.plugin"]` in the project's conftest.py."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from raftdjango.testing.faults import Injection, inject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def inject_fault() -> Iterator[Callable[..., Injection]]:
    """`raftdjango.testing.faults.inject` for the rest of the test: `inject_fault(conflict, times=2)`."""
    with ExitStack() as stack:

        def switch_on(*args: Any, **kwargs: Any) -> Injection:
            return stack.enter_context(inject(*args, **kwargs))

        yield switch_on
