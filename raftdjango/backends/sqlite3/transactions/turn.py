"""A connection's exclusive turn: for its next transaction, nobody else's writes come in between.

Taken for what was beaten again and again.  A turn that does not come, or that ends too early, changes
nothing but the chances: the transaction is checked at its place in the log like any other.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from raftdjango.client import proposal_ids
from raftdjango.conf import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raftdjango.backends.sqlite3.replication import Replication

TURN_S = 2.0
"""A first turn's length, at most."""
TURN_SHARE = 0.8
"""Of `COMMIT_TIMEOUT_S`, which is what all others wait: a turn must not have them refused."""


def turn_s(defeats: int = 0) -> float:
    """How long a turn may last for what was not done within so many: each twice as long, up to a limit."""
    return min(TURN_S * 2.0 ** min(defeats, 16), longest_turn_s())


def longest_turn_s() -> float:
    """The longest turn that all others can wait for."""
    return TURN_SHARE * get_settings().commit_timeout_s


@contextmanager
def exclusive_turn(replication: Replication, *, longest_s: float | None = None) -> Iterator[bool]:
    """Wait for a turn and have it for the transaction that begins within; False: none came in time.

    `longest_s`: how long all others may have to wait for its end; by default a first turn's length.
    """
    longest_s = turn_s() if longest_s is None else longest_s
    replication.wrapper.ensure_connection()
    if replication.nested.active:
        yield False  # Nobody else can be there.
        return
    if replication.turn is not None:
        yield True  # Taken already, and not used yet: waiting for another would be for this one.
        return
    client = replication.client
    proposal_id = proposal_ids.next()
    if not client.take_turn(
        proposal_id, timeout_s=get_settings().commit_timeout_s, longest_s=longest_s
    ):
        yield False
        return
    write_lock = replication.speculation.write_lock
    replication.turn, write_lock.turn_s = proposal_id, longest_s
    try:
        yield True
    finally:
        write_lock.turn_s = 0.0
        if replication.turn == proposal_id:
            replication.turn = None
            client.end_turn(proposal_id)
