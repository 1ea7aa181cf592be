"""Whether there is a raftnode on this machine at all, asked while a worker waits for one.

One that is restarted is back within seconds and must cost no write; one that nobody has started does
not come, and whoever forgot it should not have to wait for the whole deadline to hear so.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger("raftdjango.client")

GRACE_S = 5.0
"""So long a worker waits for a raftnode that is not there: a supervisor's pause, and time for a large
project to import itself."""
WARNING_S = 1.0
"""After so long it says what it waits for."""


class Absence:
    """One wait's view: whether there is a socket, or a raftnode that starts or ends."""

    def __init__(self, socket: Path, lock: Path, *, worth_a_warning: bool) -> None:
        self._socket = socket
        self._lock = lock
        self._since: float | None = None
        self._to_warn = worth_a_warning

    def for_good(self, why: str) -> bool:
        """Whether nobody has been there for so long, at every look, that nobody is likely to come."""
        if self._is_somebody_there():
            self._since = None
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if self._to_warn and now - self._since >= WARNING_S:
            self._to_warn = False
            logger.warning("Waiting: %s", why)
        return now - self._since >= GRACE_S

    def _is_somebody_there(self) -> bool:
        try:
            if self._socket.exists():  # perhaps of a raftnode that was killed: then it comes back
                return True
            # Read, never locked: a raftnode that starts at this moment would be refused the lock.
            holder = self._lock.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return not holder.isdigit() or _is_alive(int(holder))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
