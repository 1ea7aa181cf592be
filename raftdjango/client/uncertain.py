"""Which proposal it was of which nobody could tell in time whether it was made: what a token says."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"([0-9a-f]+)-([0-9]+)-([0-9a-f]*)-(.+)", re.DOTALL)


class Uncertain(NamedTuple):
    """Enough to ask for a proposal's outcome on any machine of the cluster."""

    alias: str
    proposal_id: bytes
    expires_at_ms: int
    cluster_id: bytes = b""
    """Empty where it is not known, as in tests."""

    def __str__(self) -> str:
        cluster = self.cluster_id.hex()
        return f"{self.proposal_id.hex()}-{self.expires_at_ms}-{cluster}-{self.alias}"

    @classmethod
    def parse(cls, token: str) -> Uncertain:
        """What `str()` gave; `ValueError` for anything else."""
        match = _TOKEN.fullmatch(token) if isinstance(token, str) else None
        if match is None:
            raise ValueError(f"{token!r} is not the token of a CommitUncertain.")
        proposal_id, expires_at_ms, cluster_id, alias = match.groups()
        return cls(alias, bytes.fromhex(proposal_id), int(expires_at_ms), bytes.fromhex(cluster_id))
