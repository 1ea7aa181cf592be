"""`RAFTDJANGO` as far as it can be understood, for checks that must not stop at a mistake."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

from raftdjango import conf
from raftdjango.consistency.levels import FORMS, parse_level

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
NAME_RULE = "letters, digits, '_', '-' and '.', at most 64, the first a letter or a digit"
MIB = 1024 * 1024


def _is_integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_level(value: Any) -> bool:
    try:
        parse_level(value)
    except (ValueError, TypeError, AttributeError):
        return False
    return True


VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "NODE_ID": (lambda v: _is_text(v) and bool(NAME_PATTERN.fullmatch(v)), f"a name: {NAME_RULE}"),
    "NODES": (lambda v: isinstance(v, dict), 'a dictionary like {"n1": "http://10.0.0.1:7001"}'),
    "LISTEN": (_is_text, 'a string like "0.0.0.0:7001"'),
    "SECRET": (_is_text, "a string"),
    "SECRET_FALLBACKS": (
        lambda v: isinstance(v, list | tuple) and all(isinstance(s, str) and s for s in v),
        "a list of strings",
    ),
    "DATA_DIR": (lambda v: isinstance(v, str | Path) and str(v) != "", "a path"),
    "COMMIT_TIMEOUT_S": (
        lambda v: type(v) in {int, float} and 0 < v <= 3600,
        "a number of seconds above 0 and at most 3600",
    ),
    "ELECTION_TIMEOUT_MS": (_is_integer(10, 600_000), "a whole number of ms from 10 to 600000"),
    "HEARTBEAT_MS": (_is_integer(1, 600_000), "a whole number of ms from 1 to 600000"),
    "TRANSACTION_BYTES_MAX": (
        _is_integer(64 * 1024, 1024 * MIB),
        "a whole number of bytes from 65536 to 1073741824",
    ),
    "LOCK_YIELD_MS": (_is_integer(1, 600_000), "a whole number of ms from 1 to 600000"),
    "DEFAULT_CONSISTENCY": (_is_level, FORMS),
}
"""Of each key: whether a value will do, and what will."""


class Reading:
    """The setting as far as it can be understood: good values, defaults for all others."""

    def __init__(self) -> None:
        raw = getattr(django_settings, "RAFTDJANGO", None)
        self.is_dictionary = raw is None or isinstance(raw, dict)
        self.raw: dict[str, Any] = dict(raw) if isinstance(raw, dict) else {}
        self.good = {
            key: self.raw[key]
            for key, (good, _) in VALUES.items()
            if key in self.raw and good(self.raw[key])
        }
        defaults = conf.Settings()
        self.node_id = str(
            self.good.get("NODE_ID") or os.environ.get(conf.NODE_ID_VARIABLE) or defaults.node_id
        )
        self.nodes: dict[Any, Any] = self.good.get("NODES") or {self.node_id: conf.DEFAULT_URL}
        self.election_timeout_ms = int(
            self.good.get("ELECTION_TIMEOUT_MS", defaults.election_timeout_ms)
        )
        self.heartbeat_ms = int(self.good.get("HEARTBEAT_MS", defaults.heartbeat_ms))
        self.commit_timeout_s = float(self.good.get("COMMIT_TIMEOUT_S", defaults.commit_timeout_s))
        self.secret = str(self.good.get("SECRET", ""))
        self.listen = str(self.good.get("LISTEN", ""))

    def data_dir(self) -> Path | None:
        """`DATA_DIR`, or where it is by default; None where a bad value hides it."""
        if "DATA_DIR" in self.raw:
            return Path(self.good["DATA_DIR"]).absolute() if "DATA_DIR" in self.good else None
        aliases = [alias for alias in conf.replicated_aliases() if database_file(alias)]
        return (
            conf.database_path(aliases[0]).parent / "raft" if aliases else Path("raft").absolute()
        )

    def addresses(self) -> Iterator[tuple[str, str]]:
        """Every address with the name of where it stands, malformed ones left out."""
        for node_id, url in self.nodes.items():
            if not url_problem(url):
                yield f"NODES[{node_id!r}]", url
        if self.listen and not listen_problem(self.listen):
            yield "LISTEN", f"//{self.listen}"


def url_problem(url: Any) -> str:
    """What is wrong with a node's URL; empty if nothing is."""
    if not isinstance(url, str):
        return "it is not a string"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"}:
        return "it must begin with http:// or https://"
    if not parts.hostname:
        return "it has no host"
    if not port:
        return "it has no port"
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username:
        return "it may have nothing but a host and a port"
    return ""


def listen_problem(listen: str) -> str:
    """What is wrong with `LISTEN`; empty if nothing is."""
    try:
        parts = urlsplit(f"//{listen}")
        port = parts.port
    except ValueError as error:
        return str(error)
    if not parts.hostname:
        return "it has no host"
    if not port:
        return "it has no port"
    if parts.path or parts.query or parts.fragment or parts.username:
        return "it may have nothing but a host and a port"
    return ""


def is_loopback(url: str) -> bool:
    """Whether an address can be reached from this machine only."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def database_file(alias: str) -> str:
    """`NAME` of an alias, as text; empty if there is none."""
    return str(django_settings.DATABASES[alias].get("NAME") or "")


def error(number: str, message: str, hint: str) -> CheckMessage:
    """One error, by its number."""
    return Error(message, hint=hint, id=f"raftdjango.{number}")


def warning(number: str, message: str, hint: str) -> CheckMessage:
    """One warning, by its number."""
    return Warning(message, hint=hint, id=f"raftdjango.{number}")
