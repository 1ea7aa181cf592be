"""What workers ask over the local channel, and the answers.

A session begins with a hello that names group, database file and cluster: a worker whose settings
point elsewhere would read one database and write another.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from raftdjango.client import channel_pb2
from raftdjango.node.limits import CHANNEL_REQUESTS_MAX
from raftdjango.node.writes.proposals import Refusal
from raftdjango.writeset import VerdictKind, encode_verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.applier import Applied
    from raftdjango.applier.winners import Winners
    from raftdjango.node.channel.frames import Taken
    from raftdjango.node.channel.server import Connection
    from raftdjango.node.consensus.reads import Reads
    from raftdjango.node.writes.leases import Leases
    from raftdjango.node.writes.proposals import Proposals
    from raftdjango.node.writes.turns import Turns

CHANNEL_VERSION = 1
WAIT_S_MAX = 3600.0
"""Longest wait that a worker can ask for."""


class Served(Protocol):
    """The group, as its workers see it."""

    name: str
    node_id: str
    database: Path
    command_bytes_max: int
    proposals: Proposals
    leases: Leases
    turns: Turns
    winners: Winners

    @property
    def reads(self) -> Reads: ...

    @property
    def cluster_id(self) -> bytes: ...

    @property
    def applied_index(self) -> int: ...

    def now(self) -> float: ...

    def cluster_time_ms(self) -> int: ...

    def status(self) -> dict[str, Any]: ...


class WorkerSession:
    """The requests of one connection."""

    def __init__(self, group: Served, connection: Connection) -> None:
        self._group = group
        self._connection: Connection | None = connection
        self._welcome = False
        self._unanswered = 0
        self._turns: set[bytes] = set()
        """Wanted or had by this worker: they end with it."""

    def request(self, taken: Taken) -> None:
        """Take one request."""
        connection, request = self._connection, taken.request
        if connection is None:
            return
        body = request.WhichOneof("body")
        if body == "hello":
            self._hello(request.sequence, request.hello)
            return
        handler = self._HANDLERS.get(body or "")
        if handler is None or not self._welcome:
            connection.malformed(request.sequence, "expected a hello first, then requests")
        elif self._unanswered >= CHANNEL_REQUESTS_MAX:
            connection.refuse(
                request.sequence, channel_pb2.Refusal.BUSY, "too many unanswered requests"
            )
        else:
            self._unanswered += 1
            wait_s = min(request.timeout_ms / 1000, WAIT_S_MAX)
            handler(self, taken, self._group.now() + wait_s)

    def closed(self) -> None:
        """The worker is gone."""
        self._connection = None
        for token in self._turns:
            self._group.turns.end(token)
        self._turns.clear()

    def _hello(self, sequence: int, hello: channel_pb2.Hello) -> None:
        group, connection = self._group, self._connection
        assert connection is not None
        if hello.version != CHANNEL_VERSION:
            connection.malformed(
                sequence,
                f"the worker speaks version {hello.version} of the local channel, the raftnode "
                f"{CHANNEL_VERSION}: restart both on the same release of raftdjango",
            )
            return
        if wrong := self._wrong(hello):
            connection.refuse(sequence, channel_pb2.Refusal.WRONG_DATABASE, wrong)
            connection.close()
            return
        self._welcome = True
        answer = self._answer(sequence)
        answer.welcome.cluster_id = group.cluster_id
        answer.welcome.node_id = group.node_id
        answer.welcome.transaction_bytes_max = group.command_bytes_max
        connection.answer(answer)

    def _wrong(self, hello: channel_pb2.Hello) -> str:
        group = self._group
        if hello.group != group.name:
            return f"this socket serves group {group.name!r}, the worker asks for {hello.group!r}"
        theirs, ours = Path(hello.database), group.database
        # Two names of one file are no mistake: a symbolic link, a mount.
        if theirs != ours and not _same_file(theirs, ours):
            return f"the worker uses database file {theirs}, the raftnode {ours}"
        if hello.cluster_id and group.cluster_id and hello.cluster_id != group.cluster_id:
            return (
                f"the worker's database file belongs to cluster {hello.cluster_id.hex()}, the "
                f"raftnode to {group.cluster_id.hex()}"
            )
        return ""

    def _propose(self, taken: Taken, deadline: float) -> None:
        propose = taken.request.propose
        sequence = taken.request.sequence
        if taken.wrong:
            assert self._connection is not None
            self._connection.malformed(sequence, taken.wrong)
            return
        wanted = dict(propose.want_keys)
        after = propose.keys_after

        def settled(end: Applied | Refusal) -> None:
            if propose.proposal_id in self._turns:
                self._turns.discard(propose.proposal_id)
                self._group.turns.end(propose.proposal_id)
            if isinstance(end, Refusal):
                self._refuse(sequence, end)
            else:
                self._outcome(sequence, end, wanted, after)

        self._group.proposals.submit(
            propose.proposal_id, taken.command, deadline=deadline, settled=settled
        )

    def _outcome(self, sequence: int, applied: Applied, wanted: dict[str, int], after: int) -> None:
        group = self._group
        verdict = applied.verdict
        assert verdict is not None
        if self._connection is None:
            return
        answer = self._answer(sequence)
        outcome = answer.outcome
        outcome.verdict = encode_verdict(verdict)
        outcome.log_index = applied.index
        if verdict.kind is not VerdictKind.APPLIED:
            won = group.winners.find(applied.index, verdict)
            outcome.winner_index = won or group.applied_index
        for table, count in wanted.items():
            if block := group.leases.take(table, count, after=after):
                outcome.keys[table].first = block.start
                outcome.keys[table].count = len(block)
        self._send(answer)

    def _refresh(self, taken: Taken, deadline: float) -> None:
        sequence = taken.request.sequence

        def refreshed(end: int | Refusal) -> None:
            if isinstance(end, Refusal):
                self._refuse(sequence, end)
                return
            answer = self._answer(sequence)
            answer.refreshed.applied_index = end
            self._send(answer)

        by_entry = taken.request.refresh.by_entry
        self._group.reads.refresh(deadline=deadline, refreshed=refreshed, by_entry=by_entry)

    def _lease_keys(self, taken: Taken, deadline: float) -> None:
        sequence = taken.request.sequence

        def given(end: range | Refusal) -> None:
            if isinstance(end, Refusal):
                self._refuse(sequence, end)
                return
            answer = self._answer(sequence)
            answer.keys.range.first = end.start
            answer.keys.range.count = len(end)
            self._send(answer)

        lease = taken.request.lease_keys
        self._group.leases.lease(
            lease.table,
            lease.count,
            after=lease.after,
            above=lease.above,
            deadline=deadline,
            given=given,
        )

    def _take_turn(self, taken: Taken, deadline: float) -> None:
        sequence, token = taken.request.sequence, taken.request.take_turn.proposal_id

        def told(refusal: Refusal | None) -> None:
            if refusal is not None:
                self._turns.discard(token)
                self._refuse(sequence, refusal)
                return
            answer = self._answer(sequence)
            answer.turn.begun = True
            self._send(answer)

        self._turns.add(token)
        longest_s = taken.request.take_turn.longest_ms / 1000
        self._group.turns.take(token, deadline=deadline, told=told, longest_s=longest_s)

    def _end_turn(self, taken: Taken, deadline: float) -> None:
        token = taken.request.end_turn.proposal_id
        self._turns.discard(token)
        self._group.turns.end(token)
        answer = self._answer(taken.request.sequence)
        answer.turn.begun = False
        self._send(answer)

    def _get_status(self, taken: Taken, deadline: float) -> None:
        answer = self._answer(taken.request.sequence)
        answer.status.json = json.dumps(self._group.status())
        self._send(answer)

    def _answer(self, sequence: int) -> channel_pb2.Answer:
        return channel_pb2.Answer(sequence=sequence, cluster_time_ms=self._group.cluster_time_ms())

    def _send(self, answer: channel_pb2.Answer) -> None:
        self._unanswered -= 1
        if self._connection is not None:
            self._connection.answer(answer)

    def _refuse(self, sequence: int, refusal: Refusal) -> None:
        answer = self._answer(sequence)
        answer.refusal.reason = refusal.reason.value
        answer.refusal.message = refusal.message
        self._send(answer)

    _HANDLERS: dict[str, Callable[[WorkerSession, Taken, float], None]] = {
        "propose": _propose,
        "refresh": _refresh,
        "lease_keys": _lease_keys,
        "get_status": _get_status,
        "take_turn": _take_turn,
        "end_turn": _end_turn,
    }


def _same_file(first: Path, second: Path) -> bool:
    # stat() only: opening and closing the file would drop SQLite's locks on it.
    try:
        return first.samefile(second)
    except OSError:
        return False
