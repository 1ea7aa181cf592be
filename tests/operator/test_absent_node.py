"""A worker whose machine has no raftnode: waits for one that is restarted, not for one that never was."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raftdjango.client import absence, channel_pb2
from raftdjango.client import socket as client_socket
from raftdjango.client.absence import GRACE_S
from raftdjango.client.socket import SocketClient
from raftdjango.client.stream import ConnectionLost
from raftdjango.client.uncertain import Uncertain
from raftdjango.conf import Settings
from raftdjango.exceptions import ClusterUnavailable, CommitUncertain
from raftdjango.writeset import Command, WriteSet, encode_command

TIMEOUT_S = 10 * GRACE_S


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self.at and self.now >= self.at[0][0]:
            self.at.pop(0)[1]()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (client_socket, absence):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)  # a socket's name has few bytes
    return Settings(nodes={"n1": "http://127.0.0.1:1"}, data_dir=Path("raft"))


def ask(settings: Settings, *, timeout_s: float = TIMEOUT_S) -> str:
    """Propose; what the error says."""
    client = SocketClient("default", settings=settings, database=Path("db.sqlite3"))
    with pytest.raises(ClusterUnavailable) as caught:
        client.propose(b"id", b"command", timeout_s=timeout_s)
    return str(caught.value)


def lock_with(settings: Settings, text: str) -> None:
    settings.data_dir.mkdir(exist_ok=True)
    (settings.data_dir / "lock").write_text(text)


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("ran_before", [False, True])
def test_nobody_started_one(clock: Clock, settings: Settings, ran_before: bool) -> None:
    if ran_before:
        lock_with(settings, f"{ended_process()}\n")
    path = settings.socket_path("default")
    assert ask(settings) == (
        f"Nothing was written: no raftnode answers at {path}; start it with: manage.py raftnode"
    )
    assert GRACE_S <= clock.now < TIMEOUT_S / 2


def test_a_shorter_deadline_holds(clock: Clock, settings: Settings) -> None:
    ask(settings, timeout_s=GRACE_S / 2)
    assert clock.now == pytest.approx(GRACE_S / 2)


@pytest.mark.parametrize("text", ["{pid}\n", "", "{pid}?"])
def test_one_that_starts_or_ends_is_waited_for(clock: Clock, settings: Settings, text: str) -> None:
    lock_with(settings, text.format(pid=os.getpid()))
    ask(settings)
    assert clock.now >= TIMEOUT_S


def test_one_that_comes_within_the_grace_is_waited_for(clock: Clock, settings: Settings) -> None:
    clock.at = [(GRACE_S / 2, lambda: lock_with(settings, f"{os.getpid()}\n"))]
    ask(settings)
    assert clock.now >= TIMEOUT_S


def test_the_grace_begins_anew_after_one_was_there(clock: Clock, settings: Settings) -> None:
    lock_with(settings, f"{os.getpid()}\n")
    clock.at = [(2 * GRACE_S, lambda: (settings.data_dir / "lock").unlink())]
    ask(settings)
    assert 3 * GRACE_S <= clock.now < TIMEOUT_S / 2


def test_one_that_was_killed_is_waited_for(clock: Clock, settings: Settings) -> None:
    """Its socket is still there: whoever killed it did not mean to end it for good."""
    path = settings.socket_path("default")
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    ask(settings)
    assert clock.now >= TIMEOUT_S


class Vanishing:
    """A connection whose raftnode goes away with the request."""

    is_ours = is_open = True

    def ask(self, request: channel_pb2.Request, deadline: float) -> channel_pb2.Answer:
        raise ConnectionLost("gone")

    def close(self) -> None:
        pass


def test_a_proposal_that_may_have_been_taken_is_asked_for_until_the_deadline(
    clock: Clock, settings: Settings
) -> None:
    client = SocketClient("default", settings=settings, database=Path("db.sqlite3"))
    client._stream = Vanishing()  # type: ignore[assignment]
    command = encode_command(Command(bytes(24), 12345, WriteSet(1, ())))
    with pytest.raises(CommitUncertain) as caught:
        client.propose(bytes(24), command, timeout_s=TIMEOUT_S)
    assert clock.now >= TIMEOUT_S
    assert Uncertain.parse(caught.value.token) == ("default", bytes(24), 12345, b"")


def test_what_is_waited_for_is_said_once(
    clock: Clock, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    ask(settings)
    (said,) = caplog.messages
    assert said.startswith("Waiting: no raftnode answers at ")
    assert "start it with: manage.py raftnode" in said
    caplog.clear()
    ask(settings, timeout_s=GRACE_S / 2)
    assert caplog.messages == []
