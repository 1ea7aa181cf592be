"""Checks of who can reach the nodes, and of what must not be so in production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, register

from raftdjango.checks.reading import Reading, error, is_loopback, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps import AppConfig

SECRET_BYTES_MIN = 16
HOW_TO_MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@register(Tags.security)
def check_secret(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E041, W046: peers that anybody on the network could pretend to be."""
    reading = Reading()
    return [*_check_missing(reading), *_check_short(reading)]


def _check_missing(reading: Reading) -> Iterator[CheckMessage]:
    if reading.secret or ("SECRET" in reading.raw and "SECRET" not in reading.good):
        return
    open_to_others = [where for where, url in reading.addresses() if not is_loopback(url)]
    if open_to_others:
        yield error(
            "E041",
            f"RAFTDJANGO['SECRET'] is missing, and {', '.join(open_to_others)} can be reached "
            "from other machines: anybody could pretend to be a node.",
            "Set SECRET to the same long random text on every node, from the environment or a file: "
            f"{HOW_TO_MAKE_ONE}",
        )


def _check_short(reading: Reading) -> Iterator[CheckMessage]:
    secrets = {
        "SECRET": [reading.secret] if reading.secret else [],
        # What signs no more still opens the door.
        "SECRET_FALLBACKS": reading.good.get("SECRET_FALLBACKS", []),
    }
    for key, values in secrets.items():
        if any(len(value.encode()) < SECRET_BYTES_MIN for value in values):
            yield warning(
                "W046",
                f"RAFTDJANGO[{key!r}] has a secret of less than {SECRET_BYTES_MIN} bytes: whoever "
                "hears one signed message can try all such secrets out.",
                f"Set long random text, the same on every node: {HOW_TO_MAKE_ONE}",
            )


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
    if reading.secret and reading.secret == django_settings.SECRET_KEY:
        found.append(
            warning(
                "W044",
                "RAFTDJANGO['SECRET'] is the same as SECRET_KEY: who learns the one has both.",
                f"Set it to long random text of its own: {HOW_TO_MAKE_ONE}",
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
