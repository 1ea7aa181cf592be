"""Middleware for sites on several machines; add what you need to `MIDDLEWARE`."""

from raftdjango.middleware.read_your_writes import ReadYourWritesMiddleware

__all__ = ["ReadYourWritesMiddleware"]
