"""Run scenarios: `python -m tests.scenarios [--rewrite] [PART OF A NAME ...]`."""

from __future__ import annotations

import argparse
import inspect
import sys

from tests.scenarios.commands import COMMANDS
from tests.scenarios.script import BadScenario, name_of, paths, play


def _commands() -> str:
    helps = [inspect.getdoc(function) or "" for function in COMMANDS.values()]
    return "commands (`silently` before one hides what it brings):\n\n" + "\n\n".join(
        text.replace("\n\n", "\n    ", 1).replace("\n", "\n    ").replace("        ", "    ")
        for text in helps
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scenarios",
        description="Run the scenarios and show what differs from their golden lines.",
        epilog=_commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="parts of names; all scenarios if there are none")
    parser.add_argument(
        "--rewrite",
        action="store_true",
        help="make what happens golden, after showing what differs",
    )
    chosen = parser.parse_args(arguments)
    scenarios = paths(chosen.names)
    if not scenarios:
        parser.error(f"no scenario has {' or '.join(chosen.names)} in its name")
    wrong = changed = 0
    for path in scenarios:
        try:
            outcome = play(path)
        except BadScenario as bad:
            wrong += 1
            sys.stdout.write(f"{bad}\n")
            continue
        if outcome.diff:
            changed += 1
            sys.stdout.write(outcome.diff)
            if chosen.rewrite:
                path.write_text(outcome.happened)
                sys.stdout.write(f"{name_of(path)}: written anew\n")
    verb = "written anew" if chosen.rewrite else "different"
    sys.stdout.write(f"{len(scenarios)} scenarios, {changed} {verb}, {wrong} that cannot be run\n")
    return 1 if wrong or (changed and not chosen.rewrite) else 0


if __name__ == "__main__":
    sys.exit(main())
