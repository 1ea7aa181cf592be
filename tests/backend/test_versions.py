"""Where Django's versions differ."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.db.backends.base.creation import BaseDatabaseCreation


@pytest.mark.parametrize(
    ("args", "kwargs", "kept"),
    [
        ((), {}, False),
        ((0,), {"autoclobber": True}, False),
        ((), {"verbosity": 0, "keepdb": True}, True),
        ((0, True, False, True), {}, True),
    ],
)
def test_create_test_db_passes_on_what_it_is_given_and_no_more(
    args: tuple[Any, ...], kwargs: dict[str, Any], kept: bool
) -> None:
    """`serialize` is deprecated in 6.1: who does not give it must not be told so."""
    made = type(connection.creation)(connection)
    with mock.patch.object(
        BaseDatabaseCreation, "create_test_db", autospec=True, return_value="name"
    ) as create:
        assert made.create_test_db(*args, **kwargs) == "name"
    create.assert_called_once_with(made, *args, **kwargs)
    assert made._keepdb is kept
