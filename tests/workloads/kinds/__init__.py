"""The workloads, by name."""

from __future__ import annotations

from tests.workloads.kinds.append import Appends, SerializableAppends
from tests.workloads.kinds.bank import Bank
from tests.workloads.kinds.base import Workload
from tests.workloads.kinds.counter import Counters
from tests.workloads.kinds.own_writes import OwnWrites
from tests.workloads.kinds.parents import Parents
from tests.workloads.kinds.register import Registers
from tests.workloads.kinds.sets import Sets
from tests.workloads.kinds.skew import LockedSkew, SerializableSkew, Skew
from tests.workloads.kinds.unique import UniqueNames

WORKLOADS: dict[str, Workload] = {
    kind.name: kind()
    for kind in (
        Registers,
        Bank,
        Appends,
        SerializableAppends,
        Sets,
        UniqueNames,
        Parents,
        Skew,
        LockedSkew,
        SerializableSkew,
        Counters,
        OwnWrites,
    )
}
