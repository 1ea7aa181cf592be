"""`manage.py raftnode`: run this machine's node until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from raftdjango.conf import database_path, get_settings, group_of, replicated_aliases
from raftdjango.node.errors import StartRefused

if TYPE_CHECKING:
    from pathlib import Path

    from raftdjango.conf import Settings

LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}
LINE = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s"
SECOND = "%Y-%m-%dT%H:%M:%S"


class _UtcFormatter(logging.Formatter):
    """Nodes in several time zones, over days: lines of all of them can be laid side by side."""

    converter = staticmethod(time.gmtime)


class Command(BaseCommand):
    """See above."""

    help = (
        "Runs this machine's node: it keeps the log, talks to the other nodes, and applies what is "
        "committed to the local database. SIGTERM or Ctrl-C stops it in good order, twice at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database",
            action="append",
            metavar="ALIAS",
            help="serve only this replicated database; may be given several times (default: all)",
        )

    def handle(self, *, database: list[str] | None = None, **options: Any) -> None:
        """Run; raises `CommandError` with one line for the operator."""
        self._log_to_stdout(options["verbosity"])
        aliases = _aliases(database)
        try:
            settings = get_settings()
            databases = {group_of(alias): database_path(alias) for alias in aliases}
            failure = _run(settings, databases, self._say)
        except (StartRefused, ImproperlyConfigured) as refusal:
            raise CommandError(str(refusal)) from refusal
        if failure:
            raise CommandError(failure)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _log_to_stdout(self, verbosity: int) -> None:
        """Readable one-liners, unless the project's own LOGGING takes care of them."""
        logger = logging.getLogger("raftdjango")
        if logger.handlers:
            return
        handler = logging.StreamHandler(cast("TextIO", self.stdout))
        handler.setFormatter(_UtcFormatter(LINE, SECOND))
        logger.addHandler(handler)
        logger.setLevel(LEVELS[verbosity])
        logger.propagate = False


def _aliases(asked: list[str] | None) -> list[str]:
    known = replicated_aliases()
    if not known:
        raise CommandError(
            "No database is replicated. Set ENGINE of one in DATABASES to "
            "'raftdjango.backends.sqlite3'."
        )
    for alias in asked or ():
        if alias not in known:
            raise CommandError(
                f"{alias!r} is no replicated database; replicated are: {', '.join(known)}."
            )
    return asked or known


def _run(settings: Settings, databases: dict[str, Path], say: Any) -> str:
    """Run a node on a loop of its own; why it failed, or an empty string."""
    # Imported here: only a raftnode needs a server and an event loop.
    from raftdjango.node.process import RaftNode

    async def serve() -> str:
        loop = asyncio.get_running_loop()
        node = RaftNode(settings, databases)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.request_stop)
        await node.start()
        _tune_interpreter()
        await node.run(on_ready=lambda: say(f"raftnode {settings.node_id} ready"))
        return node.failure

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve())


SWITCH_INTERVAL_S = 0.000_5
"""A thread that wants the interpreter waits at most so long for one that computes: the loop gives it
away at every system call, many times per write.  Measured on three busy nodes against Python's own
5 ms: a third off the latency of one client, and no less throughput."""


def _tune_interpreter() -> None:
    """Have the loop wait for nothing else in this process.

    Full garbage collections stop every thread, heartbeats included, so they are made rare: a large
    entry is hundreds of thousands of objects, nearly all that is made here is freed by count, and
    what was made at start need never be looked at again.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # where there is no uvloop, asyncio's own loop does
        return None
    return uvloop.new_event_loop
