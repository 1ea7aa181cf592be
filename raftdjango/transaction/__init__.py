"""What user code needs for transactions that several nodes may run at once."""

from raftdjango.transaction.retry import Retry, atomic_retry

__all__ = ["Retry", "atomic_retry"]
