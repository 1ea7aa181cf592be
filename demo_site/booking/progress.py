"""A progress bar for commands: one line on a terminal, a line each tenth elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.core.management.base import OutputWrapper

BAR_WIDTH = 30


class ProgressBar:
    """Counts up to `total`; `start` of them were done before."""

    def __init__(self, out: OutputWrapper, label: str, *, total: int, start: int = 0) -> None:
        self._out = out
        self._label = label
        self._total = total
        self._start = self._done = start
        self._began = time.monotonic()
        self._tenth = -1

    def advance(self, count: int) -> None:
        """`count` more are done."""
        self._done += count
        tenth = 10 * self._done // max(self._total, 1)
        if self._out.isatty():
            self._out.write(f"\r{self._line()}", ending="")
            self._out.flush()
        elif tenth != self._tenth:
            self._out.write(self._line())
        self._tenth = tenth

    def finish(self) -> None:
        """Leave the last state on a line of its own."""
        if self._out.isatty():
            self._out.write("")

    def _line(self) -> str:
        share = self._done / max(self._total, 1)
        filled = round(BAR_WIDTH * share)
        seconds = max(time.monotonic() - self._began, 1e-3)
        rate = (self._done - self._start) / seconds
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        counted = f"{self._done:>7,} of {self._total:,}"
        return f"{self._label} {bar} {share:4.0%} {counted}  {rate:,.0f}/s "
