"""From a frame's bytes to a request, its command apart.

Here because a command of tens of megabytes takes many milliseconds to copy and to look at, each
step of it without giving the interpreter away: large frames are parsed on a thread, step by step,
so that heartbeats get in between.
"""

from __future__ import annotations

from typing import NamedTuple

from raftdjango.client import channel_pb2
from raftdjango.writeset import MalformedCommand, decode_command


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
    return Taken(request, command, _wrong(propose.proposal_id, command))


def take_large(buffer: bytearray, start: int, end: int) -> Taken:
    """As `take`, of a part of `buffer`, which is empty afterwards.  For a thread."""
    with memoryview(buffer) as view:
        frame = bytes(view[start:end])
    buffer.clear()
    return take(frame)


def _wrong(proposal_id: bytes, command: bytes) -> str:
    """Why no node could apply these bytes; empty where all can.

    A committed entry that cannot be decoded stops every node, and none may skip it: such bytes must
    not get into the log.  So all of the command is decoded, rows too, as the applier will do it
    (who is spared doing a small one again, see `decode_command`).
    """
    try:
        decoded = decode_command(command)
    except MalformedCommand as error:
        return f"this is no command that can be applied: {error}"
    return "" if decoded.proposal_id == proposal_id else "this is no command of that id"
