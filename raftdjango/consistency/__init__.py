"""How fresh reads have to be: as a context manager, a decorator, a queryset, or by setting.

Reads are local unless something here says otherwise.  See docs/ref/consistency.md.
"""

from raftdjango.consistency.levels import Level
from raftdjango.consistency.querysets import ConsistentManager, ConsistentQuerySet
from raftdjango.consistency.scopes import (
    Consistency,
    at_least,
    bounded,
    last_write,
    linearizable,
    local,
)

__all__ = [
    "Consistency",
    "ConsistentManager",
    "ConsistentQuerySet",
    "Level",
    "at_least",
    "bounded",
    "last_write",
    "linearizable",
    "local",
]
