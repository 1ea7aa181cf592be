"""A worker's way to its node: the interface that the database backend commits through.

Two implementations: `raftdjango.client.socket.SocketClient` (a framed Unix socket to this machine's
raftnode) and `raftdjango.testing.consensus.InProcessClient` (tests: no processes, no sockets).
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from raftdjango.conf import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from raftdjango.client.uncertain import Uncertain
    from raftdjango.writeset import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proposal, told after the local database shows it."""

    verdict: Verdict
    log_index: int
    winner_index: int = 0
    """On conflict, a hint: applied index at which the winner is visible locally."""
    keys: Mapping[str, range] = field(default_factory=dict)
    """Blocks of keys handed out along with the answer."""


class NodeClient(Protocol):
    """One per database connection; not shared between threads."""

    transaction_bytes_max: int
    """Largest encoded command that the node takes."""

    def cluster_time_ms(self) -> int:
        """Present estimate of cluster time, for `expires_at_ms`."""

    def propose(
        self,
        proposal_id: bytes,
        command: bytes,
        *,
        timeout_s: float,
        want_keys: Mapping[str, int] | None = None,
        keys_after: int = 0,
    ) -> Outcome:
        """Propose and wait until this node has applied the entry.

        With the answer come keys of the tables in `want_keys`, if the node has some at hand that
        were leased behind entry `keys_after`.

        The same id is proposed again if the node restarts before the deadline.  Raises
        `ClusterUnavailable`, `CommitUncertain`, `TransactionTooLarge`.
        """

    def refresh(self, *, timeout_s: float) -> int:
        """Wait until this node has applied all that was committed when asked; the index applied."""

    def lease_keys(
        self, table: str, count: int, *, timeout_s: float, after: int = 0, above: int = 0
    ) -> range:
        """A block of auto-increment keys that nobody else will ever be given, each larger than `above` if
        that is a key in use.

        Of a lease made behind entry `after`: an older one was void from that entry on, if its
        statements reset the sequence.  Raises `OperationalError` where there can be no keys.
        """

    def take_turn(self, proposal_id: bytes, *, timeout_s: float, longest_s: float = 0) -> bool:
        """Wait for an exclusive turn of the block that will end in this proposal; False: none came.

        From then on nothing that others write can come between what this node shows and that
        proposal, for `longest_s` at most, or about two seconds if that is 0.
        """

    def end_turn(self, proposal_id: bytes) -> None:
        """Give back a turn that no proposal has ended."""

    def resolve(self, uncertain: Uncertain, *, timeout_s: float) -> bool | None:
        """What became of a proposal, of whatever node: see `CommitUncertain.resolve`."""

    def status(self, *, timeout_s: float) -> dict[str, Any]:
        """What `raftctl status --json` prints."""

    def close(self) -> None:
        """Release the connection; the client may be used again and reconnects."""


class ProposalIds:
    """Proposal ids of this process: 16 random bytes and a counter, anew after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = -1
        self._process = b""
        self._counter = 0

    def next(self) -> bytes:
        """24 bytes that were never given before."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._process, self._counter = os.getpid(), os.urandom(16), 0
            self._counter += 1
            return self._process + self._counter.to_bytes(8, "big")


proposal_ids = ProposalIds()


_factories: dict[str, Callable[[], NodeClient]] = {}


def use_client(alias: str, factory: Callable[[], NodeClient] | None) -> None:
    """Have `connect(alias)` call `factory` from now on (the test mode does); None undoes it."""
    if factory is None:
        _factories.pop(alias, None)
    else:
        _factories[alias] = factory


def check_installed(alias: str) -> None:
    """Refuse a database whose commands, checks and admin page would be missing.

    A system check cannot tell: those of an application that is not installed do not run.  The test
    mode needs none of it.
    """
    if _factories or not apps.apps_ready or apps.is_installed("raftdjango"):
        return
    raise ImproperlyConfigured(
        f"DATABASES[{alias!r}] has the engine {ENGINE!r}, but 'raftdjango' is not in "
        'INSTALLED_APPS. Add it: INSTALLED_APPS += ["rest_framework", "raftdjango"]'
    )


def connect(alias: str) -> NodeClient:
    """A client of this machine's node for one database alias.  Connects at its first call."""
    if factory := _factories.get(alias):
        return factory()
    from raftdjango.client.socket import SocketClient

    return SocketClient(alias)
