"""What happens in a cluster, in words that a reader of the paper knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from raftcore import Entry, EntryKind, HardState, Membership, Message, Role, SnapshotMeta
from raftcore.codec import decode_membership
from raftcore.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
    Removed,
    RequestVote,
    RequestVoteResponse,
    Snapshot,
    TimeoutNow,
)

_ENTRIES_SHOWN_MAX = 4
_DATA_SHOWN_MAX = 20

ROLES = {
    Role.FOLLOWER: "follower",
    Role.PRE_CANDIDATE: "pre-candidate",
    Role.CANDIDATE: "candidate",
    Role.LEADER: "leader",
}


def place(index: int, term: int) -> str:
    return f"{index}@{term}"


def names(nodes: frozenset[str]) -> str:
    return " ".join(sorted(nodes, key=by_number)) or "nobody"


def by_number(name: str) -> tuple[int, str]:
    """n10 comes after n9."""
    return len(name), name


def membership(members: Membership) -> str:
    """Who takes part, with what is unusual about it."""
    text = names(members.voters)
    if members.voters_outgoing:
        text = f"{text} and {names(members.voters_outgoing)} jointly"
    for field, title in (
        ("learners", "learners"),
        ("learners_next", "then learners"),
        ("witnesses", "witnesses"),
        ("removed", "removed"),
    ):
        if some := getattr(members, field):
            text += f", {title} {names(some)}"
    return text + (", to be left by itself" if members.auto_leave else "")


def entry(one: Entry) -> str:
    at = place(one.index, one.term)
    if one.kind is EntryKind.NOOP:
        return f"{at} no-op"
    if one.kind is EntryKind.MEMBERSHIP:
        return f"{at} members {membership(decode_membership(one.data))}"
    if one.kind is EntryKind.COMMAND:
        text = one.data.decode()
        return f"{at} {text}" if len(text) <= _DATA_SHOWN_MAX else f"{at} {len(text)} bytes"
    return f"{at} without data"


def entries(some: Sequence[Entry]) -> str:
    if not some:
        return "no entries"
    if len(some) > _ENTRIES_SHOWN_MAX:
        return f"{entry(some[0])} .. {entry(some[-1])} ({len(some)} entries)"
    return ", ".join(map(entry, some))


def hard_state(state: HardState) -> str:
    return f"term {state.current_term}, " + (
        f"vote for {state.voted_for}" if state.voted_for else "no vote"
    )


def snapshot(meta: SnapshotMeta) -> str:
    """Without its members: who they are is shown where they are in force."""
    return f"snapshot {place(meta.index, meta.term)}"


def brief(message: Message) -> str:
    """Enough to know it again; what it says was shown when it was sent."""
    name = type(message).__name__
    match message:
        case AppendEntries(entries=()):
            return f"{name} without entries"
        case AppendEntries(entries=(only,)):
            return f"{name} {only.index}"
        case AppendEntries(entries=(first, *_, last)):
            return f"{name} {first.index}..{last.index}"
        case Heartbeat() | HeartbeatResponse():
            return f"{name} {message.sequence}"
        case Snapshot():
            return f"{name} {message.meta.index}"
    return name


def full(message: Message) -> str:
    """All of it but the sender, the receiver and times."""
    name = type(message).__name__
    say = _FULL.get(type(message))
    return f"{name} {say(message) if say else _fields(message)}"


def _fields(message: Message) -> str:
    # A kind of message that nobody has found words for yet.
    pairs = ((f.name, getattr(message, f.name)) for f in dataclasses.fields(message))
    return ", ".join(f"{name} {value}" for name, value in pairs if not name.endswith("_ms"))


def _log_end(message: PreVote | RequestVote) -> str:
    return f"log ends {place(message.last_log_index, message.last_log_term)}"


def _granted(message: PreVoteResponse | RequestVoteResponse) -> str:
    return f"term {message.term}, " + ("granted" if message.granted else "refused")


def _append(message: AppendEntries) -> str:
    return (
        f"term {message.term}, session {message.session}, "
        f"after {place(message.prev_log_index, message.prev_log_term)}: "
        f"{entries(message.entries)}; commit {message.leader_commit}"
    )


def _append_response(message: AppendEntriesResponse) -> str:
    if message.success:
        outcome = f"has up to {message.match_index}" + (", no data" if message.witness else "")
    else:
        outcome = f"refuses what follows {message.rejected_index}"
        if message.hint_index or message.hint_term:
            outcome += f", may agree at {place(message.hint_index, message.hint_term)}"
    return f"term {message.term}, session {message.session}, {outcome}"


_FULL: dict[type, Callable[[Any], str]] = {
    PreVote: lambda m: f"for term {m.term}, {_log_end(m)}",
    PreVoteResponse: _granted,
    RequestVote: lambda m: (
        f"term {m.term}, {_log_end(m)}" + (", at the leader's wish" if m.transfer else "")
    ),
    RequestVoteResponse: _granted,
    AppendEntries: _append,
    AppendEntriesResponse: _append_response,
    Heartbeat: lambda m: f"{m.sequence} term {m.term}, commit {m.leader_commit}",
    HeartbeatResponse: lambda m: f"{m.sequence} term {m.term}",
    Snapshot: lambda m: (
        f"term {m.term}, session {m.session}, up to {place(m.meta.index, m.meta.term)}, "
        f"members {membership(m.meta.membership)}" + ("" if m.meta.size else ", no data")
    ),
    TimeoutNow: lambda m: f"term {m.term}",
    Removed: lambda m: f"term {m.term}",
    ReadIndex: lambda m: f"term {m.term}, question {m.request}",
    ReadIndexResponse: lambda m: (
        f"term {m.term}, question {m.request}: " + (f"at {m.index}" if m.granted else "refused")
    ),
}
