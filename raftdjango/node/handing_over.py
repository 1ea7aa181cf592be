"""The end of a clean stop: another node takes over leadership."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from raftcore.errors import NotLeader, TransferRefused
from raftcore.types import Role
from raftdjango.node.consensus.loop import monotonic_ms
from raftdjango.node.limits import TRANSFER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.node.group import Group

logger = logging.getLogger("raftdjango.node")


async def hand_over(group: Group) -> None:
    """Have somebody else lead, if this node does and anybody can; bounded in time."""
    term = group.term
    try:
        group.core.transfer_leadership(None, monotonic_ms())
    except (NotLeader, TransferRefused):
        return
    group.consensus.touch()
    if await until(lambda: group.role is not Role.LEADER, TRANSFER_S):
        how = "handed over" if group.term > term else "given up: too few others are left"
        logger.info("Group %s: leadership was %s", group.name, how)
    else:
        logger.warning("Group %s: nobody took leadership over in time.", group.name)


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until it holds; False at the end of the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.01)
    return True
