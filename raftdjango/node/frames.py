"""From a frame's bytes to a request, its command apart.

Here because a command of tens of megabytes takes many milliseconds to copy and to look at, each
step of it without giving the interpreter away: large frames are parsed on a thread, step by step,
so that heartbeats get in between.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError

from raftdjango.client import channel_pb2
from raftdjango.writeset import entry_pb2

PROPOSAL_ID_BYTES_MAX = 64


class Taken(NamedTuple):
    """A request as it came.  Its command was copied out once; asking `request` would copy again."""

    request: channel_pb2.Request
    command: bytes
    """Of a proposal; else empty."""
    wrong: str
    """Why the proposal cannot be taken; empty where it can, and for all else."""


def take(frame: bytes) -> Taken:
    """Parse a frame; raises `DecodeError`."""
    request = channel_pb2.Request.FromString(frame)
    if request.WhichOneof("body") != "propose":
        return Taken(request, b"", "")
    propose = request.propose
    command = propose.command
    wrong = "" if _is_command(propose.proposal_id, command) else "this is no command of that id"
    return Taken(request, command, wrong)


def _is_command(proposal_id: bytes, command: bytes) -> bool:
    """Whether the command is one, as far as can be told without looking at rows.

    No node can apply an entry that is no command, and none may skip it: such bytes must not get
    into the log.
    """
    try:
        message = entry_pb2.Command.FromString(command)
    except DecodeError:
        return False
    return (
        0 < len(proposal_id) <= PROPOSAL_ID_BYTES_MAX
        and message.proposal_id == proposal_id
        and message.WhichOneof("body") is not None
    )
