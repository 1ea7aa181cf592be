"""Checks of groups, and of the folders and sockets that they come to."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, register

from raftdjango import conf
from raftdjango.checks.reading import NAME_PATTERN, NAME_RULE, Reading, error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps import AppConfig

SOCKET_PATH_BYTES_MAX = 107 if sys.platform.startswith("linux") else 103
OPTION_KEYS = {"group"}
"""What `OPTIONS["raft"]` may hold."""


@register(Tags.compatibility)
def check_folders(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E012-E015, E017: groups and where their files go."""
    reading = Reading()
    return [*_check_groups(reading), *_check_data_dir(reading)]


def _options(alias: str) -> tuple[dict[str, Any], bool]:
    """`OPTIONS["raft"]` and whether it is a dictionary."""
    options: Any = django_settings.DATABASES[alias].get("OPTIONS") or {}
    raft = options.get("raft") or {} if isinstance(options, dict) else options
    return (raft, True) if isinstance(raft, dict) else ({}, False)


def _groups() -> dict[str, str]:
    return {
        alias: str(_options(alias)[0].get("group", alias)) for alias in conf.replicated_aliases()
    }


def _check_groups(reading: Reading) -> Iterator[CheckMessage]:
    seen: dict[str, str] = {}
    for alias, group in _groups().items():
        raft, is_dictionary = _options(alias)
        where = f"DATABASES[{alias!r}]['OPTIONS']['raft']"
        if not is_dictionary:
            yield error("E017", f"{where} must be a dictionary.", 'Such as {"group": "orders"}.')
        for key in sorted(set(map(str, raft)) - OPTION_KEYS):
            yield error(
                "E017",
                f"{where} has an unknown key: {key!r}.",
                "Known keys: group. Others belong in RAFTDJANGO.",
            )
        if not NAME_PATTERN.fullmatch(group):
            yield error(
                "E015",
                f"The group of DATABASES[{alias!r}] cannot be named {group!r}.",
                f"It stands in URLs and paths: {NAME_RULE}. Set {where}['group'].",
            )
        if (folded := group.lower()) in seen:
            # Case is folded because some file systems do.
            yield error(
                "E013",
                f"DATABASES[{seen[folded]!r}] and DATABASES[{alias!r}] have the same group, "
                f"{group!r}, and so one folder in DATA_DIR.",
                f"Each replicated database is a group of its own: set {where}['group'].",
            )
        else:
            seen[folded] = alias


def _check_data_dir(reading: Reading) -> Iterator[CheckMessage]:
    data_dir = reading.data_dir()
    if data_dir is None:
        return
    if data_dir.exists() and not data_dir.is_dir():
        message = f"RAFTDJANGO['DATA_DIR'] is not a folder: {data_dir}."
        yield error("E014", message, "Name a folder that belongs to this node alone.")
    for group in _groups().values():
        path = data_dir / group / "node.sock"
        if (size := len(os.fsencode(path))) > SOCKET_PATH_BYTES_MAX:
            yield error(
                "E012",
                f"RAFTDJANGO['DATA_DIR'] is too deep: the socket {path} would have a name of "
                f"{size} bytes, and the system takes {SOCKET_PATH_BYTES_MAX}.",
                'Set DATA_DIR to a shorter path, such as "/var/lib/raft".',
            )
