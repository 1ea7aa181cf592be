"""Every scenario happens as it is written."""

from __future__ import annotations

import pytest

from tests.scenarios.script import name_of, paths, play


@pytest.mark.parametrize("path", paths(), ids=name_of)
def test_it_happens_as_it_is_written(path):
    diff = play(path).diff
    if diff:
        pytest.fail(
            f"{diff}\nIf this is as it should be: python -m tests.scenarios --rewrite {name_of(path)}",
            pytrace=False,
        )
