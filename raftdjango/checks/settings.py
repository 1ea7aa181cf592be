"""Checks of the dictionary `RAFTDJANGO` itself."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Tags, register

from raftdjango import conf
from raftdjango.checks.reading import (
    NAME_PATTERN,
    NAME_RULE,
    VALUES,
    Reading,
    error,
    listen_problem,
    url_problem,
    warning,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps import AppConfig


@register(Tags.compatibility)
def check_settings(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E001-E011, E016, W001-W003: the dictionary itself."""
    reading = Reading()
    if not reading.is_dictionary:
        message = "RAFTDJANGO must be a dictionary."
        return [error("E001", message, 'Write it as RAFTDJANGO = {"NODE_ID": "n1", ...}.')]
    return [
        *_check_keys(reading),
        *_check_nodes(reading),
        *_check_timers(reading),
        *_check_installed(),
    ]


def _check_keys(reading: Reading) -> Iterator[CheckMessage]:
    for key, value in reading.raw.items():
        if key not in VALUES:
            close = difflib.get_close_matches(str(key).upper(), VALUES, n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"Known keys: {', '.join(VALUES)}."
            yield error("E002", f"RAFTDJANGO has an unknown key: {key!r}.", remedy)
        elif key not in reading.good:
            # A secret's value is never shown.
            shown = type(value).__name__ if "SECRET" in key else repr(value)
            yield error(
                "E003",
                f"RAFTDJANGO[{key!r}] cannot be {shown}.",
                f"It must be {VALUES[key][1]}.",
            )
    if reading.listen and (problem := listen_problem(reading.listen)):
        yield error(
            "E007",
            f"RAFTDJANGO['LISTEN'] is {reading.listen!r}: {problem}.",
            'Write it as "host:port", such as "0.0.0.0:7001" or "[::]:7001".',
        )


def _check_nodes(reading: Reading) -> Iterator[CheckMessage]:
    if reading.node_id not in reading.nodes:
        names = ", ".join(sorted(map(str, reading.nodes)))
        yield error(
            "E004",
            f"RAFTDJANGO['NODE_ID'] is {reading.node_id!r}, which is not among NODES: {names}.",
            f"Set NODE_ID, or the environment variable {conf.NODE_ID_VARIABLE}, to this machine's "
            "name in NODES, or add it there, the same on every machine.",
        )
    seen: dict[str, Any] = {}
    for node_id, url in reading.nodes.items():
        if not isinstance(node_id, str) or not NAME_PATTERN.fullmatch(node_id):
            message = f"RAFTDJANGO['NODES'] has a node id that cannot be used: {node_id!r}."
            yield error("E005", message, f"A node id is made of {NAME_RULE}.")
        if problem := url_problem(url):
            yield error(
                "E005",
                f"RAFTDJANGO['NODES'][{node_id!r}] is {url!r}: {problem}.",
                "Write it as http://host:port, such as http://10.0.0.1:7001.",
            )
        elif (same := str(url).rstrip("/").lower()) in seen:
            message = f"RAFTDJANGO['NODES'] has one address for {seen[same]} and {node_id}: {url}."
            yield error("E006", message, "Give each node an address of its own.")
        else:
            seen[same] = node_id


def _check_timers(reading: Reading) -> Iterator[CheckMessage]:
    election, heartbeat = reading.election_timeout_ms, reading.heartbeat_ms
    if heartbeat >= election:
        yield error(
            "E008",
            f"RAFTDJANGO['HEARTBEAT_MS'] ({heartbeat}) is not below ELECTION_TIMEOUT_MS "
            f"({election}): followers would depose every leader.",
            "Make ELECTION_TIMEOUT_MS five to ten times HEARTBEAT_MS.",
        )
    elif heartbeat * 3 > election:
        yield warning(
            "W001",
            f"RAFTDJANGO['ELECTION_TIMEOUT_MS'] ({election}) is less than three times "
            f"HEARTBEAT_MS ({heartbeat}): one or two lost messages depose a leader.",
            "Make ELECTION_TIMEOUT_MS five to ten times HEARTBEAT_MS.",
        )
    if reading.commit_timeout_s * 1000 < 3 * election:
        yield warning(
            "W002",
            f"RAFTDJANGO['COMMIT_TIMEOUT_S'] ({reading.commit_timeout_s:g}) is less than three "
            f"times ELECTION_TIMEOUT_MS ({election}): writes fail whenever a leader is lost.",
            "Give writes the time of an election: raise COMMIT_TIMEOUT_S.",
        )


def _check_installed() -> Iterator[CheckMessage]:
    if not apps.is_installed("rest_framework"):
        yield error(
            "E016",
            "raftdjango needs Django REST framework, which is not in INSTALLED_APPS.",
            'Add "rest_framework" to INSTALLED_APPS.',
        )
    if not conf.replicated_aliases():
        yield warning(
            "W003",
            "raftdjango is installed, but no database is replicated.",
            f'Set the ENGINE of a database in DATABASES to "{conf.ENGINE}".',
        )
