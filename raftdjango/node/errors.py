"""Why a raftnode did not start or had to stop, in words for the operator."""

from __future__ import annotations


class StartRefused(Exception):
    """The node does not start; the message names what is wrong and what to do."""
