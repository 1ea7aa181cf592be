"""Reading, running and writing of scenario files."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from tests.scenarios.commands import run
from tests.scenarios.world import ScenarioError, Unsafe, World

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).resolve().parents[2]


class BadScenario(Exception):
    """A file that cannot be run, with the line where."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        super().__init__(f"{shown}:{line}: {reason}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scenario's text as it is, and as it would be if what happened was golden."""

    path: Path
    written: str
    happened: str

    @property
    def diff(self) -> str:
        """What differs; empty if nothing."""
        name = str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else "scenario"
        lines = difflib.unified_diff(
            self.written.splitlines(keepends=True),
            self.happened.splitlines(keepends=True),
            f"{name} (golden)",
            f"{name} (happened)",
        )
        return "".join(lines)


def paths(parts: list[str] | None = None) -> list[Path]:
    """All scenarios, or those with one of these in their names."""
    found = sorted(CASES.rglob("*.txt"))
    return [path for path in found if not parts or any(part in name_of(path) for part in parts)]


def name_of(path: Path) -> str:
    return path.relative_to(CASES).with_suffix("").as_posix()


def play(path: Path) -> Outcome:
    """Run a scenario from its file."""
    written = path.read_text()
    return Outcome(path, written, perform(written, path))


def perform(written: str, path: Path) -> str:
    """The text with the lines between the commands as they come out now."""
    world = World()
    result: list[str] = []
    commanded = False
    for number, line in enumerate(written.splitlines(), 1):
        if line.startswith("  "):
            if not commanded:
                raise BadScenario(path, number, "output without a command above it")
            continue
        if line.startswith("> "):
            commanded = True
            result.append(line)
            try:
                result += [f"  {output}" for output in run(world, line[2:])]
            except (ScenarioError, Unsafe) as wrong:
                raise BadScenario(path, number, f"{line[2:]}: {wrong}") from wrong
            except Exception as unforeseen:
                unforeseen.add_note(f"{path}:{number}: {line}")
                raise
        elif not line or line.startswith("#"):
            # Output belongs right below its command.
            commanded = False
            result.append(line)
        else:
            raise BadScenario(path, number, f"begins with none of '#', '> ' and two spaces: {line}")
    return "\n".join(result) + "\n"
