"""What a mistake is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake; `edits` are (file, text there now, text instead)."""

    item: int
    """Its number in `docs/internals/raft-checklist.md`, 0 for one that nobody is known to have
    shipped."""
    name: str
    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...] = ()
    """The files of tests that notice it; if there are none, the simulator has to."""


def tested(item: int, name: str, file: str, before: str, after: str, *tests: str) -> Mutant:
    """A mistake in one place that tests notice."""
    return Mutant(item, name, ((file, before, after),), tests)
