"""Fixtures of the backend's tests."""

from __future__ import annotations

from tests.backend.blind_support import lagging, leased, proposed
from tests.backend.raw_support import lend
from tests.backend.serial_support import accounts, however_slow

__all__ = ["accounts", "however_slow", "lagging", "leased", "lend", "proposed"]
