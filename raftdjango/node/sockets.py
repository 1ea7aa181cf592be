"""What every connection of the node has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import asyncio


def sending_at_once(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """`transport`, whose `write` now sends what the socket takes.

    Above its limit uvloop writes at once; below, only when all that is ready in the loop has run,
    and that may be a sync of the log.
    """
    # A cast, since uvloop's transports are of no class of asyncio's.
    stream = cast("asyncio.Transport", transport)
    stream.set_write_buffer_limits(high=0)
    return stream
