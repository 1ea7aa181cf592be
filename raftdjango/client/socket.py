"""A worker's way to its raftnode over the local channel.

One blocking socket per client.  When the raftnode goes away, the client comes back until the
deadline and asks again under the same id; what it says at the end is exact: `ClusterUnavailable`
only if no raftnode can have taken the proposal, else `CommitUncertain`.
"""

from __future__ import annotations

import json
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import OperationalError

from raftdjango.applier import OUTCOME_GRACE_MS
from raftdjango.client import Outcome, channel_pb2
from raftdjango.client.absence import GRACE_S, Absence
from raftdjango.client.local_database import local_outcome, local_state
from raftdjango.client.stream import ConnectionLost, Stream
from raftdjango.client.uncertain import Uncertain
from raftdjango.conf import database_path, get_settings, group_of
from raftdjango.exceptions import (
    ClusterUnavailable,
    CommitUncertain,
    ReplicationError,
    TransactionTooLarge,
)
from raftdjango.writeset import VerdictKind, decode_command, decode_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from raftdjango.conf import Settings

CHANNEL_VERSION = 1
RECONNECT_S_MIN = 0.01
RECONNECT_S_MAX = 0.5
ANSWER_GRACE_S = 1.0
"""The node answers at the deadline; so much longer the client waits for that answer."""
END_TURN_S = 0.5
"""For giving an exclusive turn back; it ends by itself soon after."""

Reason = channel_pb2.Refusal


class SocketClient:
    """See `raftdjango.client.NodeClient`.  Calls from several threads take turns."""

    def __init__(
        self, alias: str, *, settings: Settings | None = None, database: Path | None = None
    ) -> None:
        """Settings and file of the alias, unless a test brings those of several nodes."""
        settings = settings or get_settings()
        self._alias = alias
        self._group = group_of(alias)
        self._path = settings.socket_path(self._group)
        self._lock_path = settings.data_dir / "lock"
        self._database = database or database_path(alias)
        self._connect_timeout_s = settings.commit_timeout_s
        self._stream: Stream | None = None
        self._lock = threading.Lock()
        self._cluster_time_ms = 0
        self._cluster_time_at = 0.0
        self.transaction_bytes_max = settings.transaction_bytes_max

    def cluster_time_ms(self) -> int:
        """Present estimate of cluster time; asks the node once, then counts on."""
        if not self._cluster_time_at:
            self._ask_read(None, self._connect_timeout_s)
        elapsed_ms = int((time.monotonic() - self._cluster_time_at) * 1000)
        return self._cluster_time_ms + elapsed_ms

    def propose(
        self,
        proposal_id: bytes,
        command: bytes,
        *,
        timeout_s: float,
        want_keys: Mapping[str, int] | None = None,
        keys_after: int = 0,
    ) -> Outcome:
        """See `NodeClient.propose`."""
        if len(command) > self.transaction_bytes_max:
            raise TransactionTooLarge(
                f"The transaction is {len(command)} bytes long; TRANSACTION_BYTES_MAX is "
                f"{self.transaction_bytes_max}. Split it, or raise the setting on every node."
            )
        request = channel_pb2.Request()
        request.propose.proposal_id = proposal_id
        request.propose.command = command
        if want_keys:
            request.propose.want_keys.update(want_keys)
            request.propose.keys_after = keys_after
        try:
            answer = self._ask_until(request, timeout_s)
        except Doubt as doubt:
            raise self._uncertain(proposal_id, command, doubt) from doubt
        outcome = answer.outcome
        verdict = decode_verdict(outcome.verdict)
        if verdict.kind is VerdictKind.EXPIRED:
            raise ClusterUnavailable(
                "Nothing was written: the cluster took the transaction only after its deadline."
            )
        return Outcome(
            verdict=verdict,
            log_index=outcome.log_index,
            winner_index=outcome.winner_index,
            keys={
                table: range(block.first, block.first + block.count)
                for table, block in outcome.keys.items()
            }
            if outcome.keys
            else {},
        )

    def refresh(self, *, timeout_s: float) -> int:
        """See `NodeClient.refresh`."""
        return self._refresh(timeout_s)

    def _refresh(self, timeout_s: float, *, by_entry: bool = False) -> int:
        request = channel_pb2.Request()
        request.refresh.SetInParent()
        request.refresh.by_entry = by_entry
        return self._ask_read(request, timeout_s).refreshed.applied_index

    def lease_keys(
        self, table: str, count: int, *, timeout_s: float, after: int = 0, above: int = 0
    ) -> range:
        """See `NodeClient.lease_keys`."""
        request = channel_pb2.Request()
        request.lease_keys.table = table
        request.lease_keys.count = count
        request.lease_keys.after = after
        request.lease_keys.above = above
        block = self._ask_read(request, timeout_s).keys.range
        return range(block.first, block.first + block.count)

    def take_turn(self, proposal_id: bytes, *, timeout_s: float, longest_s: float = 0) -> bool:
        """See `NodeClient.take_turn`."""
        request = channel_pb2.Request()
        request.take_turn.proposal_id = proposal_id
        request.take_turn.longest_ms = int(1000 * longest_s)
        try:
            return bool(self._ask_read(request, timeout_s).turn.begun)
        except ReplicationError:
            return False  # The block is run all the same, in competition as ever.

    def end_turn(self, proposal_id: bytes) -> None:
        """See `NodeClient.end_turn`."""
        request = channel_pb2.Request()
        request.end_turn.proposal_id = proposal_id
        with suppress(ReplicationError):
            self._ask_read(request, END_TURN_S)

    def status(self, *, timeout_s: float) -> dict[str, Any]:
        """See `NodeClient.status`."""
        request = channel_pb2.Request()
        request.get_status.SetInParent()
        status: dict[str, Any] = json.loads(self._ask_read(request, timeout_s).status.json)
        return status

    def close(self) -> None:
        """See `NodeClient.close`."""
        with self._lock:
            if self._stream is not None:
                self._stream.close()
                self._stream = None

    def _ask_read(
        self, request: channel_pb2.Request | None, timeout_s: float
    ) -> channel_pb2.Answer:
        try:
            return self._ask_until(request, timeout_s)
        except Doubt as doubt:  # a question leaves no doubt: nothing was to be written
            raise ClusterUnavailable(f"The raftnode did not answer: {doubt}") from doubt

    def _ask_until(
        self, request: channel_pb2.Request | None, timeout_s: float
    ) -> channel_pb2.Answer:
        """Ask until there is an answer or the time is up, over new connections if need be.

        None asks for no more than a connection.  Raises `Doubt` when a raftnode may have taken the
        request, `ClusterUnavailable` when none can have: early, where there is no raftnode.
        """
        deadline = time.monotonic() + timeout_s
        gone = Absence(self._path, self._lock_path, worth_a_warning=timeout_s > GRACE_S)
        pause = RECONNECT_S_MIN
        doubtful = False
        why = self._nobody
        with self._lock:
            while True:
                sent = False
                try:
                    stream = self._connected(deadline)
                    if request is None:
                        return channel_pb2.Answer()
                    request.timeout_ms = max(1, int((deadline - time.monotonic()) * 1000))
                    sent = True
                    answer = self._ask(stream, request, deadline + ANSWER_GRACE_S)
                    if answer.WhichOneof("body") != "refusal":
                        return answer
                    why = self._refused(answer.refusal, doubtful=doubtful)
                except ConnectionLost as lost:
                    self._disconnect()
                    doubtful = doubtful or sent
                    why = str(lost)
                except BaseException:
                    self._disconnect()  # perhaps in the middle of a frame
                    raise
                left = deadline - time.monotonic()
                nobody_comes = gone.for_good(why)
                if left <= 0 or (nobody_comes and not doubtful):
                    break
                time.sleep(min(left, pause * (0.5 + random.random())))  # noqa: S311 - jitter
                pause = min(pause * 2, RECONNECT_S_MAX)
        if doubtful:
            raise Doubt(why)
        raise ClusterUnavailable(f"Nothing was written: {why}")

    def _connected(self, deadline: float) -> Stream:
        """The open connection, or a new one that has been welcomed."""
        stream = self._stream
        if stream is not None:
            if stream.is_ours and stream.is_open:
                return stream
            self._disconnect()
        try:
            stream = self._stream = Stream(self._path, deadline)
        except ConnectionLost as lost:
            missing = isinstance(lost.__cause__, FileNotFoundError)  # which the path says already
            why = self._nobody if missing else f"{self._nobody} ({lost})"
            raise ConnectionLost(why) from lost
        state = local_state(self._database)
        request = channel_pb2.Request()
        request.hello.version = CHANNEL_VERSION
        request.hello.group = self._group
        request.hello.database = str(self._database)
        request.hello.cluster_id = (state.cluster_id if state else None) or b""
        answer = self._ask(stream, request, max(deadline, time.monotonic() + ANSWER_GRACE_S))
        if answer.WhichOneof("body") == "refusal":
            raise ConnectionLost(self._refused(answer.refusal, doubtful=False))
        self.transaction_bytes_max = answer.welcome.transaction_bytes_max
        return stream

    def _ask(
        self, stream: Stream, request: channel_pb2.Request, deadline: float
    ) -> channel_pb2.Answer:
        answer = stream.ask(request, deadline)
        if answer.cluster_time_ms:
            self._cluster_time_ms = answer.cluster_time_ms
            self._cluster_time_at = time.monotonic()
        return answer

    def _refused(self, refusal: channel_pb2.Refusal, *, doubtful: bool) -> str:
        """Raise what a refusal means; one that says "not now" is returned as the reason to wait.

        `doubtful`: a raftnode that went away may have taken the request before.
        """
        reason, message = refusal.reason, refusal.message
        if reason == Reason.BUSY:
            return f"the raftnode is busy: {message}"
        if reason == Reason.STOPPING:
            self._disconnect()
            return message
        if reason == Reason.TOO_LARGE and not doubtful:
            raise TransactionTooLarge(message)
        if reason == Reason.NOT_POSSIBLE:
            raise OperationalError(message)
        if reason == Reason.UNCERTAIN or doubtful:
            raise Doubt(message)
        raise ClusterUnavailable(message)

    @property
    def _nobody(self) -> str:
        return f"no raftnode answers at {self._path}; start it with: manage.py raftnode"

    def _disconnect(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _uncertain(self, proposal_id: bytes, command: bytes, doubt: Doubt) -> CommitUncertain:
        state = local_state(self._database)
        cluster_id = (state.cluster_id if state else None) or b""
        expires_at_ms = decode_command(command).expires_at_ms
        uncertain = Uncertain(self._alias, proposal_id, expires_at_ms, cluster_id)
        return CommitUncertain(
            f"The write may or may not have been made: {doubt}",
            str(uncertain),
            resolver=lambda timeout_s: self.resolve(uncertain, timeout_s=timeout_s),
        )

    def resolve(self, uncertain: Uncertain, *, timeout_s: float) -> bool | None:
        """See `NodeClient.resolve`."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                # Only entries move the database's cluster time on, which decides.
                self._refresh(left, by_entry=True)
            except ClusterUnavailable:
                return None
            verdict, state = local_outcome(self._database, uncertain.proposal_id)
            if verdict is not None:
                return verdict.kind is VerdictKind.APPLIED
            cluster_id = (state.cluster_id if state else None) or b""
            if uncertain.cluster_id and cluster_id != uncertain.cluster_id:
                raise ValueError("That write was another cluster's: this one cannot tell.")
            time_ms = state.time_ms if state else 0
            if time_ms > uncertain.expires_at_ms:
                # Later still, the stored outcome may have been pruned: then nobody knows.
                pruned = time_ms > uncertain.expires_at_ms + OUTCOME_GRACE_MS
                return None if pruned else False
            wait_s = min(
                deadline - time.monotonic(), (uncertain.expires_at_ms - time_ms + 1) / 1000
            )
            time.sleep(max(wait_s, 0.0))
        return None


class Doubt(Exception):
    """The time is up, and a raftnode may have taken the request."""
