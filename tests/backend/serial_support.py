"""Blocks that were made on one view and come to their place in the log later, as from another node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from raftdjango.exceptions import ClusterUnavailable
from raftdjango.testing.consensus import Consensus
from raftdjango.writeset import VerdictKind, WriteSet, decode_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.writeset import Verdict


class _HeldBack(ClusterUnavailable):
    """What the block meets in place of its verdict."""


@dataclass(frozen=True)
class Entry:
    """A proposal that has not come to its place in the log."""

    command: bytes
    captured_at: int | None

    @property
    def write_set(self) -> WriteSet:
        body = decode_command(self.command).body
        assert isinstance(body, WriteSet)
        return body

    def apply(self) -> Verdict:
        """Now it has."""
        consensus = Consensus.of(str(connection.settings_dict["NAME"]))
        return consensus.propose(self.command, self.captured_at).verdict

    def is_applied(self) -> bool:
        return self.apply().kind is VerdictKind.APPLIED


def hold_back(block: Callable[[], Any]) -> Entry | None:
    """Run a block up to its proposal; None if it had nothing to propose."""
    held: list[Entry] = []
    client: Any = connection.replication.client

    def propose(proposal_id: bytes, command: bytes, **_: Any) -> Any:
        captured_at, client._captured_at = client._captured_at, None
        held.append(Entry(command, captured_at))
        raise _HeldBack("It waits for its place in the log.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "propose", propose, raising=False)
        try:
            block()
        except _HeldBack:
            return held[0]
    return None
