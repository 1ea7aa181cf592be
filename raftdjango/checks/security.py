"""Checks of who can reach the nodes, and of what must not be so in production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, register

from raftdjango.checks.reading import Reading, error, is_loopback, warning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig

SECRET_LENGTH_MIN = 16


@register(Tags.security)
def check_secret(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E041: peers that anybody on the network could pretend to be."""
    reading = Reading()
    if reading.secret or ("SECRET" in reading.raw and "SECRET" not in reading.good):
        return []
    open_to_others = [where for where, url in reading.addresses() if not is_loopback(url)]
    if not open_to_others:
        return []
    return [
        error(
            "E041",
            f"RAFTDJANGO['SECRET'] is missing, and {', '.join(open_to_others)} can be reached "
            "from other machines: anybody could pretend to be a node.",
            "Set SECRET to the same long random text on every node, from the environment or a file: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    ]


@register(Tags.security, deploy=True)
def check_deployment(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W041-W045: what is right at home and wrong in production."""
    reading = Reading()
    found = []
    plain = [
        w for w, url in reading.addresses() if url.startswith("http:") and not is_loopback(url)
    ]
    if plain:
        found.append(
            warning(
                "W041",
                f"Nodes talk over plain HTTP: {', '.join(plain)}. Messages are signed, not secret.",
                "Keep the nodes' addresses on a private network, or put TLS before them.",
            )
        )
    if len(reading.nodes) % 2 == 0:
        count = len(reading.nodes)
        found.append(
            warning(
                "W042",
                f"RAFTDJANGO['NODES'] has {count} nodes: {count} survive the loss of "
                f"{(count - 1) // 2}, as {count - 1} would.",
                "Have an odd number of nodes: three, or five.",
            )
        )
    if django_settings.DEBUG:
        found.append(
            warning(
                "W043",
                "DEBUG is on: each process keeps every query it makes, and error pages show data.",
                "Set DEBUG = False on every node.",
            )
        )
    if reading.secret and (
        len(reading.secret) < SECRET_LENGTH_MIN or reading.secret == django_settings.SECRET_KEY
    ):
        found.append(
            warning(
                "W044",
                f"RAFTDJANGO['SECRET'] is shorter than {SECRET_LENGTH_MIN} characters, or the same "
                "as SECRET_KEY.",
                "Set it to long random text of its own: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        )
    if len(reading.nodes) == 1:
        found.append(
            warning(
                "W045",
                "RAFTDJANGO['NODES'] has one node: nothing is on a second machine.",
                "List three nodes or more, the same on every machine.",
            )
        )
    return found
