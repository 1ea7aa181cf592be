"""Raft (Ongaro and Ousterhout) as a library: messages, proposals and the time in, effects out.

Nothing but the standard library and protobuf is needed; `docs/raftcore.md` is the guide.

Here is what every driver needs: `RaftCore`, its settings, inputs, effects, errors, and `align` for
the start.  Beside it `raftcore.effects` says what a driver has to do, `raftcore.codec` turns
messages into bytes, `raftcore.storage` keeps log and snapshots on disk or in memory,
`raftcore.snapshot_stream` brings a snapshot to another node in pieces, and `raftcore.trace` records
a core and runs it again.
"""

from raftcore.changes import (
    AddLearner,
    AddVoter,
    Change,
    Demote,
    JointMode,
    Promote,
    Remove,
)
from raftcore.config import Config
from raftcore.core import RaftCore
from raftcore.effects import (
    Apply,
    Compact,
    Effect,
    InstallSnapshot,
    Persist,
    ReadReady,
    ReadRefusal,
    ReadRefused,
    RoleChanged,
    Send,
    SendSnapshot,
    TakeSnapshot,
)
from raftcore.errors import (
    ChangeRefusal,
    ChangeRefused,
    InvariantViolation,
    Malformed,
    NotLeader,
    ProposalRefused,
    RaftError,
    Refused,
    TransferRefused,
)
from raftcore.messages import Message, Snapshot
from raftcore.starting import align
from raftcore.status import MemberStatus, Status
from raftcore.types import (
    Entry,
    EntryKind,
    HardState,
    Membership,
    NodeId,
    Role,
    SnapshotMeta,
)

__all__ = [
    "AddLearner",
    "AddVoter",
    "Apply",
    "Change",
    "ChangeRefusal",
    "ChangeRefused",
    "Compact",
    "Config",
    "Demote",
    "Effect",
    "Entry",
    "EntryKind",
    "HardState",
    "InstallSnapshot",
    "InvariantViolation",
    "JointMode",
    "Malformed",
    "MemberStatus",
    "Membership",
    "Message",
    "NodeId",
    "NotLeader",
    "Persist",
    "Promote",
    "ProposalRefused",
    "RaftCore",
    "RaftError",
    "ReadReady",
    "ReadRefusal",
    "ReadRefused",
    "Refused",
    "Remove",
    "Role",
    "RoleChanged",
    "Send",
    "SendSnapshot",
    "Snapshot",
    "SnapshotMeta",
    "Status",
    "TakeSnapshot",
    "TransferRefused",
    "align",
]
