"""Asking, later or elsewhere, what became of a write of which nobody could tell in time."""

from __future__ import annotations

from django.db import connections

from raftdjango.client.uncertain import Uncertain


def resolve(token: str, timeout_s: float = 30.0) -> bool | None:
    """What became of the write whose `CommitUncertain` had this token: see `CommitUncertain.resolve()`.

    In any process, on any machine of the cluster.  `ValueError` for what is no token, or another
    cluster's.
    """
    uncertain = Uncertain.parse(token)
    replication = getattr(connections[uncertain.alias], "replication", None)
    if replication is None:
        raise ValueError(
            f"The token names the database {uncertain.alias!r}, which is not replicated here."
        )
    made: bool | None = replication.client.resolve(uncertain, timeout_s=timeout_s)
    return made
