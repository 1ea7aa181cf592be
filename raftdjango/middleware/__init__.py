"""Middleware for sites on several machines; add what you need to `MIDDLEWARE`."""

from raftdjango.middleware.marks import never_retry, retry_on_conflict
from raftdjango.middleware.read_your_writes import ReadYourWritesMiddleware
from raftdjango.middleware.retry import RetryMiddleware

__all__ = ["ReadYourWritesMiddleware", "RetryMiddleware", "never_retry", "retry_on_conflict"]
