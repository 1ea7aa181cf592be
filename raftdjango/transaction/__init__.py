"""What user code needs for transactions that several nodes may run at once."""

from raftdjango.transaction.resolving import resolve
from raftdjango.transaction.retry import Retry, atomic_retry
from raftdjango.transaction.serializable import Serializable, serializable

__all__ = ["Retry", "Serializable", "atomic_retry", "resolve", "serializable"]
