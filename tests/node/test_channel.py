"""The local channel: what a worker may send, and what happens to what it may not."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from typing import Self

import pytest

from raftdjango.client import channel_pb2
from raftdjango.node.channel import server as channel_module
from raftdjango.writeset import Barrier, VerdictKind, entry_pb2
from tests.node.nodes import (
    GROUP,
    PATIENCE_S,
    Cluster,
    command,
    insert,
    make_table,
    wait_until,
)

Refusal = channel_pb2.Refusal


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(1) as cluster:
        cluster.start()
        cluster.leader()
        yield cluster


class Raw:
    """A connection that says anything."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(cluster.settings("n1").socket_path(GROUP)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, request: channel_pb2.Request) -> None:
        data = request.SerializeToString()
        self.socket.sendall(len(data).to_bytes(4, "big") + data)

    def hello(self, **changes) -> channel_pb2.Answer:
        hello = {"version": 1, "group": GROUP, "database": str(self.cluster.database("n1"))}
        request = channel_pb2.Request(sequence=1)
        request.hello.CopyFrom(channel_pb2.Hello(**{**hello, **changes}))
        self.send(request)
        return self.receive()

    def receive(self) -> channel_pb2.Answer:
        size = int.from_bytes(self.read(4), "big")
        return channel_pb2.Answer.FromString(self.read(size))

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, "closed"
            data += more
        return data

    def is_closed(self) -> bool:
        return self.socket.recv(1) == b""


def refused(answer: channel_pb2.Answer, reason: int) -> str:
    assert answer.WhichOneof("body") == "refusal", answer
    assert answer.refusal.reason == reason
    return answer.refusal.message


def test_a_welcome_tells_node_cluster_and_bound(cluster):
    with Raw(cluster) as raw:
        welcome = raw.hello().welcome
        assert welcome.node_id == "n1"
        assert welcome.cluster_id.hex() == cluster.status("n1")["cluster_id"]
        assert welcome.transaction_bytes_max == 64 * 1024 * 1024


def test_the_socket_is_for_its_owner_only(cluster):
    path = cluster.settings("n1").socket_path(GROUP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"group": "other"}, "serves group 'default'"),
        ({"database": "/elsewhere/db.sqlite3"}, "/elsewhere/db.sqlite3, the raftnode "),
        ({"cluster_id": b"x" * 16}, "belongs to cluster 7878"),
    ],
)
def test_another_database_is_refused_and_closed(cluster, changes, words):
    with Raw(cluster) as raw:
        assert words in refused(raw.hello(**changes), Refusal.WRONG_DATABASE)
        assert raw.is_closed()


def test_another_name_of_the_same_file_is_no_mistake(cluster):
    link = cluster.folder / "link.db"
    link.symlink_to(cluster.database("n1"))
    with Raw(cluster) as raw:
        assert raw.hello(database=str(link)).WhichOneof("body") == "welcome"


def test_another_version_is_told_to_restart(cluster):
    with Raw(cluster) as raw:
        assert "restart both" in refused(raw.hello(version=2), Refusal.MALFORMED)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x05GET /",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x02\x08\x01",
    ],
    ids=["no protobuf", "http", "huge", "empty", "no hello"],
)
def test_what_is_no_request_is_refused_and_closed(cluster, data):
    with Raw(cluster) as raw:
        raw.socket.sendall(data)
        refused(raw.receive(), Refusal.MALFORMED)
        assert raw.is_closed()
    assert cluster.client("n1").refresh(timeout_s=PATIENCE_S)


@pytest.mark.parametrize("what", ["no command", "no id", "another's id", "no body"])
def test_bytes_that_are_no_command_never_get_into_the_log(cluster, what):
    """No node could apply them and none may skip them: the whole cluster would stand still."""
    proposal_id, data = command(Barrier(), client=cluster.client("n1"))
    ids = {"no id": b"", "another's id": b"x" * 24}
    commands = {
        "no command": b"no command at all",
        "no body": entry_pb2.Command(proposal_id=proposal_id).SerializeToString(),
    }
    with Raw(cluster) as raw:
        raw.hello()
        request = channel_pb2.Request(sequence=2, timeout_ms=1000)
        request.propose.proposal_id = ids.get(what, proposal_id)
        request.propose.command = commands.get(what, data)
        raw.send(request)
        refused(raw.receive(), Refusal.MALFORMED)
        assert raw.is_closed()
    assert cluster.client("n1").refresh(timeout_s=PATIENCE_S)
    assert cluster.status("n1")["ready"]


def _write_set(message: entry_pb2.Command) -> entry_pb2.WriteSet:
    message.ClearField("barrier")
    message.write_set.tables.add(name="thing", columns=["id", "name"], key=[0])
    return message.write_set


def _expires_never(message: entry_pb2.Command) -> None:
    message.expires_at_ms = 2**64 - 1


def _leases_nothing(message: entry_pb2.Command) -> None:
    message.key_lease.table = "thing"


def _names_no_table(message: entry_pb2.Command) -> None:
    _write_set(message).operations.add(table=9)


def _has_a_broken_row(message: entry_pb2.Command) -> None:
    _write_set(message).operations.add(new=b"\xc1")


def _is_of_a_newer_version(message: entry_pb2.Command) -> None:
    message.MergeFromString(b"\xfa\x07\x01x")


def _is_large_and_broken(message: entry_pb2.Command) -> None:
    _write_set(message).operations.add(new=b"\xc1" * 2_000_000)


@pytest.mark.parametrize(
    "spoil",
    [
        _expires_never,
        _leases_nothing,
        _names_no_table,
        _has_a_broken_row,
        _is_of_a_newer_version,
        _is_large_and_broken,
    ],
)
def test_commands_that_no_node_could_decode_never_get_into_the_log(cluster, spoil):
    proposal_id, data = command(Barrier(), client=cluster.client("n1"))
    message = entry_pb2.Command.FromString(data)
    spoil(message)
    with Raw(cluster) as raw:
        raw.hello()
        request = channel_pb2.Request(sequence=2, timeout_ms=1000)
        request.propose.proposal_id = proposal_id
        request.propose.command = message.SerializeToString()
        raw.send(request)
        refused(raw.receive(), Refusal.MALFORMED)
        assert raw.is_closed()
    assert cluster.client("n1").refresh(timeout_s=PATIENCE_S)
    assert cluster.status("n1")["ready"]


def test_requests_in_pieces_and_in_one_packet_are_understood(cluster):
    with Raw(cluster) as raw:
        raw.hello()
        data = b""
        for sequence in (2, 3, 4):
            request = channel_pb2.Request(sequence=sequence, timeout_ms=30_000)
            request.refresh.SetInParent()
            body = request.SerializeToString()
            data += len(body).to_bytes(4, "big") + body
        raw.socket.sendall(data[:3])
        raw.socket.sendall(data[3:11])
        raw.socket.sendall(data[11:])
        assert {raw.receive().sequence for _ in range(3)} == {2, 3, 4}


def test_a_large_command_goes_through(cluster):
    client = cluster.client("n1")
    version = make_table(client)
    text = "x" * 3_000_000
    outcome = client.propose(
        *command(insert(version, 1, text), client=client), timeout_s=PATIENCE_S
    )
    assert outcome.verdict.kind is VerdictKind.APPLIED
    assert cluster.rows("n1") == [(1, text)]


def test_large_frames_beyond_the_bound_wait_for_each_other(cluster, monkeypatch):
    monkeypatch.setattr(channel_module, "CHANNEL_INPUT_BYTES_MAX", 1_000_000)
    client = cluster.client("n1")
    version = make_table(client)

    def write(key: int) -> None:
        own = cluster.client("n1")
        proposal = command(insert(version, key, "x" * 600_000), client=own)
        own.propose(*proposal, timeout_s=PATIENCE_S)

    threads = [threading.Thread(target=write, args=(key,)) for key in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(cluster.rows("n1")) == 6
    assert cluster.nodes["n1"].groups[GROUP].channel._input_bytes == 0


def test_a_large_frame_broken_off_gives_its_room_back(cluster):
    channel = cluster.nodes["n1"].groups[GROUP].channel
    with Raw(cluster) as raw:
        raw.hello()
        raw.socket.sendall((10_000_000).to_bytes(4, "big") + b"x" * 300_000)
        wait_until(lambda: channel._input_bytes == 10_000_000, "the reservation")
    wait_until(lambda: channel._input_bytes == 0, "its end")


def test_too_many_connections_are_refused_as_busy(cluster, monkeypatch):
    monkeypatch.setattr(channel_module, "CHANNEL_CONNECTIONS_MAX", 1)
    with Raw(cluster), Raw(cluster) as second:
        refused(second.receive(), Refusal.BUSY)


def test_a_worker_that_goes_away_leaves_its_proposal_behind(cluster):
    client = cluster.client("n1")
    version = make_table(client)
    proposal_id, data = command(insert(version, 1, "orphan"), client=client)
    with Raw(cluster) as raw:
        raw.hello()
        request = channel_pb2.Request(sequence=2, timeout_ms=10_000)
        request.propose.proposal_id = proposal_id
        request.propose.command = data
        raw.send(request)
    wait_until(lambda: cluster.rows("n1") == [(1, "orphan")], "the row")


def _status_request(sequence: int) -> bytes:
    request = channel_pb2.Request(sequence=sequence)
    request.get_status.SetInParent()
    data = request.SerializeToString()
    return len(data).to_bytes(4, "big") + data


def test_a_worker_that_takes_no_answers_is_not_listened_to(cluster):
    """Else its answers would pile up in the node."""
    connections = cluster.nodes["n1"].groups[GROUP].channel._connections
    before = set(connections)
    with Raw(cluster) as raw:
        raw.hello()
        (connection,) = connections - before
        raw.socket.setblocking(False)
        sent = 0
        unsent = b""
        while sent < 100_000:
            unsent = unsent or _status_request(sent + 2)
            try:
                unsent = unsent[raw.socket.send(unsent) :]
            except BlockingIOError:
                if connection._reading_paused:
                    break
            else:
                sent += not unsent
        assert connection._transport.get_write_buffer_size() < 1_000_000
        raw.socket.settimeout(PATIENCE_S)
        for sequence in range(2, sent + 2):
            assert raw.receive().sequence == sequence
        raw.socket.sendall(unsent or _status_request(sent + 2))
        assert raw.receive().sequence == sent + 2


@pytest.mark.filterwarnings("ignore")
def test_a_large_request_that_cannot_be_taken_is_not_left_waiting(cluster, monkeypatch):
    channel = cluster.nodes["n1"].groups[GROUP].channel

    def no_memory(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(channel_module, "take_large", no_memory)
    with Raw(cluster) as raw:
        raw.hello()
        raw.socket.sendall((300_000).to_bytes(4, "big") + b"x" * 300_000)
        assert raw.is_closed()
    wait_until(lambda: channel._input_bytes == 0, "its room")


def test_what_follows_a_large_frame_is_taken_after_it(cluster):
    proposal_id, data = command(
        insert(make_table(cluster.client("n1")), 1, "x" * 100_000), client=cluster.client("n1")
    )
    with Raw(cluster) as raw:
        raw.hello()
        request = channel_pb2.Request(sequence=2, timeout_ms=10_000)
        request.propose.proposal_id = proposal_id
        request.propose.command = data
        large = request.SerializeToString()
        both = len(large).to_bytes(4, "big") + large + _status_request(3)
        raw.socket.sendall(both[:-3])
        raw.socket.sendall(both[-3:])
        answers = {raw.receive().sequence: None for _ in range(2)}
        assert set(answers) == {2, 3}
