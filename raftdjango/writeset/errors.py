"""What is wrong with bytes that should be a command or a verdict."""

from __future__ import annotations


class MalformedCommand(ValueError):
    """The bytes are no command or verdict that this version understands."""
