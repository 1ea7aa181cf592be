"""Raft (Ongaro and Ousterhout) as a library: messages, proposals and the time in, effects out.

Nothing but the standard library and protobuf is needed; `docs/raftcore.md` is the guide.

Here is what every driver needs: `RaftCore`, its settings, inputs, effects, errors, and `align` for
the start.  What a driver has to do with them is in `raftcore.effects`.  The modules, by layer; each
uses those below it only:

    core                 `RaftCore`: inputs and the time in, effects out
      trace, recording   what a core does, as lines, and done again
      status             a picture of it for people
    protocol/            the rules: elections, replication, membership, snapshots, reads, ...
    state/               what a node keeps: log, terms, followers, what is on the way out, ...
    quorum, changes      what a majority is; what a membership may become
    codec, proto/        messages and memberships as bytes
    effects, messages    what goes out, to the driver and to other members
    config, errors
    types                entries, memberships, what a snapshot stands for

Beside these, for drivers, and used by none of them:

    starting             log and snapshot put in order before a core is made
    storage/             the log and the snapshots, on disk and in memory
    snapshot_stream/     a snapshot on its way, in pieces
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
