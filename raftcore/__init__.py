"""Raft (Ongaro and Ousterhout) as a library: messages, proposals and the time in, effects out.

`RaftCore` is the protocol; `raftcore.effects` says what its driver has to do; `raftcore.codec`
turns messages into bytes; `raftcore.storage` keeps the log.
"""

from raftcore.config import Config
from raftcore.core import RaftCore
from raftcore.effects import Apply, Effect, Persist, ReadReady, ReadRefused, RoleChanged, Send
from raftcore.errors import (
    InvariantViolation,
    Malformed,
    NotLeader,
    ProposalRefused,
    RaftError,
    TransferRefused,
)
from raftcore.messages import Message
from raftcore.status import MemberStatus, Status
from raftcore.types import Entry, EntryKind, HardState, Membership, NodeId, Role

__all__ = [
    "Apply",
    "Config",
    "Effect",
    "Entry",
    "EntryKind",
    "HardState",
    "InvariantViolation",
    "Malformed",
    "MemberStatus",
    "Membership",
    "Message",
    "NodeId",
    "NotLeader",
    "Persist",
    "ProposalRefused",
    "RaftCore",
    "RaftError",
    "ReadReady",
    "ReadRefused",
    "Role",
    "RoleChanged",
    "Send",
    "Status",
    "TransferRefused",
]
