"""What can be asked of a view of the database, apart from who asks and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

SECONDS_MAX = 86_400.0
FORMS = "'local', 'linearizable', or 'bounded:' and a number of seconds, such as 'bounded:0.5'"


@dataclass(frozen=True, slots=True)
class Level:
    """What a view must show."""

    staleness_s: float = math.inf
    """All that was committed so long before the read, or earlier."""
    index: int = 0
    """All up to this log index."""
    timeout_s: float | None = None
    """How long a read may wait for it; `COMMIT_TIMEOUT_S` if not given."""

    @property
    def is_local(self) -> bool:
        """Any view will do."""
        return self.staleness_s == math.inf and not self.index

    def __str__(self) -> str:
        if self.index:
            return f"at least {self.index}"
        if self.is_local:
            return "local"
        return f"bounded by {self.staleness_s:g} s" if self.staleness_s else "linearizable"


def checked_timeout(timeout_s: float | None) -> float | None:
    """The timeout of a level, if it is one."""
    if timeout_s is not None and not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout_s is a number of seconds, not {timeout_s!r}.")
    if timeout_s is not None and not 0 < timeout_s <= SECONDS_MAX:
        raise ValueError(f"A read cannot wait for {timeout_s!r} seconds.")
    return timeout_s


def bounded_level(seconds: float, timeout_s: float | None = None) -> Level:
    """At most so old."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(
            f"bounded() takes seconds first, not {seconds!r}: bounded(0.5), or for one database "
            'bounded(0.5, "default").'
        )
    if not 0 < seconds <= SECONDS_MAX:
        raise ValueError(
            f"bounded() takes seconds above 0 and at most {SECONDS_MAX:g}, not {seconds!r}; "
            "reads that miss nothing are linearizable()."
        )
    return Level(float(seconds), timeout_s=checked_timeout(timeout_s))


def at_least_level(index: int, timeout_s: float | None = None) -> Level:
    """At least as new as this entry."""
    if isinstance(index, str):
        raise TypeError(
            f"at_least() takes a log index first, not {index!r}: at_least(index), or for one of several "
            'databases at_least(index, "default").'
        )
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise ValueError(f"at_least() takes a log index, not {index!r}.")
    return Level(index=index, timeout_s=checked_timeout(timeout_s))


def linearizable_level(timeout_s: float | None = None) -> Level:
    """Nothing acknowledged before the read is missing."""
    return Level(0.0, timeout_s=checked_timeout(timeout_s))


@lru_cache(maxsize=16)
def parse_level(text: str) -> Level:
    """A level as `DEFAULT_CONSISTENCY` names it; `ValueError` for anything else."""
    if text == "local":
        return Level()
    if text == "linearizable":
        return linearizable_level()
    word, colon, seconds = text.partition(":")
    if word != "bounded" or not colon:
        raise ValueError(f"{text!r} is none of {FORMS}.")
    return bounded_level(float(seconds))
