"""Raft (Ongaro and Ousterhout) as a library: messages, proposals and the time in, effects out.

`RaftCore` is the protocol; `raftcore.effects` says what its driver has to do; `raftcore.codec`
turns messages into bytes; `raftcore.storage` keeps the log.
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
    ReadRefused,
    RoleChanged,
    Send,
    SendSnapshot,
    TakeSnapshot,
)
from raftcore.errors import (
    ChangeRefused,
    InvariantViolation,
    Malformed,
    NotLeader,
    ProposalRefused,
    RaftError,
    TransferRefused,
)
from raftcore.messages import Message
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
    "ReadRefused",
    "Remove",
    "Role",
    "RoleChanged",
    "Send",
    "SendSnapshot",
    "SnapshotMeta",
    "Status",
    "TakeSnapshot",
    "TransferRefused",
]
