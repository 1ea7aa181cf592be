"""Each classic mistake, put back, is noticed by the simulator within its default seeds."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.runner import simulate

SEEDS = 300


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_put_back_is_noticed(mutant: Mutant) -> None:
    assert simulate(mutant, SEEDS, first_only=True).failures, mutant.name
