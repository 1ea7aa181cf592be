"""Classic mistakes, put back, are noticed: by tests, or by the simulator's default seeds.

Every third of them here; all, and by how many tests and seeds, by `make mutants`.
"""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.runner import edited, failing_tests, simulate

SEEDS = 300
SAMPLE = MUTANTS[::3]


def test_without_a_mistake_nothing_is_noticed() -> None:
    assert failing_tests(Mutant(0, "none", ()), first_only=True) == ()


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: mutant.name)
def test_a_mistake_put_back_is_noticed(mutant: Mutant) -> None:
    if mutant.tests:
        assert failing_tests(mutant, mutant.tests, first_only=True), mutant.name
    else:
        assert simulate(mutant, SEEDS, first_only=True).failures, mutant.name


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_can_be_made_in_the_code_as_it_is(mutant: Mutant) -> None:
    assert edited(mutant)


def test_many_mistakes_of_others_are_tried() -> None:
    assert len({mutant.item for mutant in MUTANTS} - {0}) >= 25
