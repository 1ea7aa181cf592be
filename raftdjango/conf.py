"""The setting `RAFTDJANGO`, typed: every key with its default, and nothing else.

`get_settings()` reads `django.conf.settings` once; changing the setting in a test clears it.
Mistakes are reported by `raftdjango.checks`; here a bad value raises `ImproperlyConfigured`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

ENGINE = "raftdjango.backends.sqlite3"
NODE_ID_VARIABLE = "RAFTDJANGO_NODE_ID"
DEFAULT_URL = "http://127.0.0.1:7001"


@dataclass(frozen=True)
class Settings:
    """`RAFTDJANGO` with defaults filled in.  Field names are the keys in lower case."""

    node_id: str = "n1"
    """This machine's name among `nodes`."""
    nodes: dict[str, str] = field(default_factory=dict)
    """How a new cluster first forms: node id to URL.  Afterwards membership lives in the log."""
    listen: str = ""
    """`host:port` to bind; host and port of this node's own URL if not given."""
    secret: str = ""
    """Signs what peers say to each other; required unless every address is loopback."""
    secret_fallbacks: tuple[str, ...] = ()
    """Accepted but never used to sign, so that the secret can change while nodes run."""
    data_dir: Path = Path("raft")
    """Log and socket; `raft` beside the database file if not given."""
    commit_timeout_s: float = 10.0
    """A write's deadline."""
    election_timeout_ms: int = 1000
    """Shortest time without a leader after which a node campaigns; each draws up to twice this."""
    heartbeat_ms: int = 150
    transaction_bytes_max: int = 64 * 1024 * 1024
    """Largest entry; beyond it a commit raises `TransactionTooLarge`."""
    lock_yield_ms: int = 200
    """How long the applier waits for the local write lock before a worker's block is doomed."""
    default_consistency: str = "local"
    """What reads ask for where nothing else is said: see `raftdjango.consistency`."""

    @property
    def url(self) -> str:
        """This node's own URL."""
        return self.nodes[self.node_id]

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port to bind."""
        parts = urlsplit(f"//{self.listen}" if self.listen else self.url)
        return parts.hostname or "127.0.0.1", 7001 if parts.port is None else parts.port

    def group_dir(self, group: str) -> Path:
        """Folder of one group: its log, its socket, its right-of-way file."""
        return self.data_dir / group

    def socket_path(self, group: str) -> Path:
        """The local channel's Unix socket."""
        return self.group_dir(group) / "node.sock"


KEYS = tuple(f.name.upper() for f in fields(Settings))


def raw_settings() -> dict[str, Any]:
    """`settings.RAFTDJANGO` as the user wrote it."""
    raw = getattr(django_settings, "RAFTDJANGO", None) or {}
    if not isinstance(raw, dict):
        raise ImproperlyConfigured("RAFTDJANGO must be a dictionary.")
    return raw


def replicated_aliases() -> list[str]:
    """`DATABASES` aliases that are replicated, in the order of the setting."""
    return [
        alias
        for alias, config in django_settings.DATABASES.items()
        if config.get("ENGINE") == ENGINE
    ]


def group_of(alias: str) -> str:
    """Name of an alias' Raft group: the alias, or `OPTIONS["raft"]["group"]`."""
    options: dict[str, Any] = django_settings.DATABASES[alias].get("OPTIONS") or {}  # type: ignore[assignment]
    return str((options.get("raft") or {}).get("group", alias))


def alias_of(group: str) -> str:
    """The alias of a group; `KeyError` where there is none."""
    for alias in replicated_aliases():
        if group_of(alias) == group:
            return alias
    raise KeyError(group)


def database_path(alias: str) -> Path:
    """Absolute path of the alias' database file on this node."""
    name = str(django_settings.DATABASES[alias].get("NAME") or "")
    if not name:
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}]['NAME'] is missing: a replicated database is a file. "
            f'Name one, such as BASE_DIR / "{alias}.sqlite3".'
        )
    return Path(name).absolute()


def missing_folder(alias: str, path: Path) -> str:
    """What to tell where the folder of an alias' database file does not exist; empty where it does."""
    if path.parent.is_dir():
        return ""
    return (
        f"The folder of DATABASES[{alias!r}]['NAME'] does not exist: {path.parent}. "
        "Make it, or correct NAME."
    )


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings in force."""
    raw = {str(key).lower(): value for key, value in raw_settings().items()}
    if unknown := sorted(set(raw) - {f.name for f in fields(Settings)}):
        names = ", ".join(name.upper() for name in unknown)
        raise ImproperlyConfigured(
            f"RAFTDJANGO has unknown keys: {names}. Known: {', '.join(KEYS)}."
        )
    raw.setdefault("node_id", os.environ.get(NODE_ID_VARIABLE) or "n1")
    raw["nodes"] = dict(raw.get("nodes") or {raw["node_id"]: DEFAULT_URL})
    raw["secret_fallbacks"] = tuple(raw.get("secret_fallbacks", ()))
    if raw["node_id"] not in raw["nodes"]:
        raise ImproperlyConfigured(
            f"RAFTDJANGO['NODE_ID'] is {raw['node_id']!r}, which is not among NODES: "
            f"{', '.join(sorted(raw['nodes']))}."
        )
    if "data_dir" not in raw:
        aliases = replicated_aliases()
        raw["data_dir"] = database_path(aliases[0]).parent / "raft" if aliases else Path("raft")
    raw["data_dir"] = Path(raw["data_dir"]).absolute()
    return Settings(**raw)


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"RAFTDJANGO", "DATABASES"}:
        get_settings.cache_clear()
