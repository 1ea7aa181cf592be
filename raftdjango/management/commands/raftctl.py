"""`manage.py raftctl`: what the cluster is doing.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or nobody answers.  Every refusal names the
next command to try.  Each verb is a method `handle_<verb>` with a parser of its own.
"""

from __future__ import annotations

import json
from argparse import SUPPRESS
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS
from django.template.defaultfilters import filesizeformat

from raftdjango import status as cluster_status
from raftdjango.conf import ENGINE, group_of, replicated_aliases
from raftdjango.management.tables import table

if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSED = 1
UNREACHABLE = 2
UNKNOWN = "-"


class Command(BaseCommand):
    """Asks this machine's raftnode over its local channel."""

    help = "Shows the state of the cluster."

    _base_arguments: list[tuple[tuple[str, ...], dict[str, Any]]]

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """As Django does."""
        skip_checks = {"action": "store_true", "help": "Skip system checks."}
        self._base_arguments = [(("--skip-checks",), skip_checks)]
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_base_argument(self, parser: CommandParser, *args: str, **kwargs: Any) -> None:
        """Django's own options, remembered for the verbs' parsers."""
        super().add_base_argument(parser, *args, **kwargs)
        if "--version" not in args:
            self._base_arguments.append((args, kwargs))

    def add_arguments(self, parser: CommandParser) -> None:
        """One parser a verb; the options that all have come from `common`."""
        common = CommandParser(add_help=False)
        common.add_argument("--json", action="store_true", help="print JSON, for programs")
        common.add_argument(
            "--database", metavar="ALIAS", help="which replicated database (default: the first)"
        )
        common.add_argument(
            "--timeout",
            type=float,
            default=3.0,
            metavar="SECONDS",
            help="how long to wait for the raftnode (default: %(default)g)",
        )
        for names, options in self._base_arguments:
            # After the verb as well; where it is not given there, what stood before the verb counts.
            common.add_argument(*names, **{**options, "default": SUPPRESS})
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
        verbs.add_parser(
            "status",
            parents=[common],
            help="members, roles, term, leader, indexes, lag",
            description="Shows members, roles, term, leader, commit and applied index, lag.",
        )

    def handle(self, *, verb: str, database: str | None, **options: Any) -> None:
        """Do what the verb says."""
        getattr(self, f"handle_{verb}")(_replicated(database), **options)

    def handle_status(self, alias: str, *, json: bool, timeout: float, **options: Any) -> None:
        """Print the status that this machine's raftnode gives."""
        try:
            status = cluster_status.ask(alias, timeout_s=timeout)
        except cluster_status.Unreachable as error:
            raise CommandError(str(error), returncode=UNREACHABLE) from None
        self.stdout.write(_dumps(status) if json else self._readable(alias, status))

    def _readable(self, alias: str, status: Mapping[str, Any]) -> str:
        leader = status.get("leader") or "none at the moment: writes wait"
        lines = [
            f"cluster {status.get('cluster_id') or 'not formed yet'}, group {group_of(alias)}",
            f"asked {status.get('node')}, {status.get('role')} in term {status.get('term')}; "
            f"leader: {leader}",
            f"commit index {_number(status.get('commit_index'))}, "
            f"applied index {_number(status.get('applied_index'))}",
        ]
        if (size := status.get("log_bytes")) is not None:
            on_disk = status.get("log_disk_bytes") or size
            lines.append(
                f"log {_size(size)}, {_size(on_disk)} on disk with the room kept free for more; "
                "this version does not compact it"
            )
        if reason := status.get("not_ready_reason"):
            lines.append(self.style.ERROR(f"{status.get('node')} is not ready: {reason}"))
        headings = ["", "node", "address", "role", "match", "lag", "last contact", "health"]
        rows = [
            [
                "*" if member.here else "",
                member.id,
                member.address,
                member.role or UNKNOWN,
                _number(member.match_index),
                _number(member.lag),
                "here" if member.here else cluster_status.ago(member.last_contact_ms) or UNKNOWN,
                str(member.health.label),
            ]
            for member in cluster_status.members(status)
        ]
        lines += ["", table(headings, rows, right={"match", "lag"})]
        if status.get("leader") not in {None, status.get("node")}:
            told = cluster_status.ago(cluster_status.told_ms(status))
            lines += ["", _hearsay(leader, told)]
        return "\n".join(lines)


def _replicated(database: str | None) -> str:
    """The alias asked for, if it is replicated."""
    aliases = replicated_aliases()
    if not aliases:
        raise CommandError(
            f'No database is replicated: set the ENGINE of one in DATABASES to "{ENGINE}".',
            returncode=UNREACHABLE,
        )
    if database is None:
        return DEFAULT_DB_ALIAS if DEFAULT_DB_ALIAS in aliases else aliases[0]
    if database not in aliases:
        raise CommandError(
            f"{database!r} is not a replicated database. Choose from: {', '.join(aliases)}",
            returncode=UNREACHABLE,
        )
    return database


def _hearsay(leader: Any, told: str) -> str:
    """Where a follower's knowledge of the others comes from."""
    if told:
        return f"Only the leader hears from every node: what {leader} said {told}."
    return f"Only the leader hears from every node, and {leader} has not said anything yet."


def _dumps(status: Mapping[str, Any]) -> str:
    return json.dumps(status, indent=2)


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _size(size: int) -> str:
    return filesizeformat(size).replace("\xa0", " ")
