"""Fixtures of the backend's tests."""

from __future__ import annotations

from tests.backend.blind_support import lagging, leased, proposed

__all__ = ["lagging", "leased", "proposed"]
