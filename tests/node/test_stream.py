"""The worker's end of the local channel, against a node that answers in whatever pieces it likes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raftdjango.client import channel_pb2
from raftdjango.client.stream import TIMEOUT_STEP_S, ConnectionLost, Stream

PATIENCE_S = 20.0


def frame(sequence: int, text: str = "") -> bytes:
    answer = channel_pb2.Answer(sequence=sequence)
    answer.status.json = text
    data = answer.SerializeToString()
    return len(data).to_bytes(4, "big") + data


class Node:
    """Accepts one worker and answers each request by what `answers` says for its sequence."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.answers: Callable[[int], list[bytes]] = lambda sequence: [frame(sequence)]
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        worker, _ = self.listener.accept()
        with worker:
            while header := worker.recv(4, socket.MSG_WAITALL):
                data = worker.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
                for piece in self.answers(channel_pb2.Request.FromString(data).sequence):
                    worker.sendall(piece)

    def close(self) -> None:
        self.thread.join(PATIENCE_S)
        self.listener.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "socket")
    yield node
    node.close()


@pytest.fixture
def stream(node: Node, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(tmp_path / "socket", time.monotonic() + PATIENCE_S)
    yield stream
    stream.close()


def ask(stream: Stream, wait_s: float = PATIENCE_S) -> str:
    answer = stream.ask(channel_pb2.Request(), time.monotonic() + wait_s)
    return answer.status.json


def test_answers_in_pieces(node: Node, stream: Stream) -> None:
    text = "x" * 100_000
    whole = frame(1, text)
    for cut in (1, 3, 4, 5, 50, len(whole) - 1):
        node.answers = lambda n, cut=cut: [frame(n, text)[:cut], frame(n, text)[cut:]]  # type: ignore[misc]
        assert ask(stream) == text


def test_answers_byte_by_byte(node: Node, stream: Stream) -> None:
    node.answers = lambda n: [bytes([byte]) for byte in frame(n, "slow")]
    assert [ask(stream), ask(stream)] == ["slow", "slow"]


def test_answers_to_earlier_requests_are_passed_over(node: Node, stream: Stream) -> None:
    node.answers = lambda n: [frame(n + 90, "late") + frame(n, "mine")]
    assert ask(stream) == "mine"
    node.answers = lambda n: [frame(n + 90, "late") + frame(n, "mine")[:7], frame(n, "mine")[7:]]
    assert ask(stream) == "mine"
    node.answers = lambda n: [frame(n + 90, "late"), frame(n, "mine")]
    assert ask(stream) == "mine"


def test_no_answer_is_known_at_the_deadline(node: Node, stream: Stream) -> None:
    node.answers = lambda n: []
    with pytest.raises(ConnectionLost) as lost:
        ask(stream, 0.01)
    assert lost.value.timed_out


def test_half_an_answer_is_none(node: Node, stream: Stream) -> None:
    node.answers = lambda n: [frame(n, "half")[:-1]]
    with pytest.raises(ConnectionLost) as lost:
        ask(stream, 0.01)
    assert lost.value.timed_out


def test_what_is_no_answer(node: Node, stream: Stream) -> None:
    node.answers = lambda n: [b"\0\0\0\3\xff\xff\xff"]
    with pytest.raises(ConnectionLost, match="cannot be read"):
        ask(stream)


def test_each_call_waits_as_long_as_it_may(
    node: Node, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    own = stream._socket
    read = stream._read

    def noting(count: int, deadline: float) -> bytes:
        data = read(count, deadline)
        waits.append(own.gettimeout())
        return data

    monkeypatch.setattr(stream, "_read", noting)
    for wait_s in (30.0, 10.0, 600.0, 10.0):
        ask(stream, wait_s)
        timeout = waits.pop()
        assert timeout is not None
        assert timeout <= wait_s + TIMEOUT_STEP_S
        assert timeout > wait_s / 2
    assert not waits
