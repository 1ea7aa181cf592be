"""Links between nodes that can be cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.cluster.harness import free_ports, wait_until
from tests.workloads.links import Links

REQUEST = b"POST /raft/v1/default/messages HTTP/1.1\r\nauthorization: Raft 1 %s n1 - -\r\n\r\n"
LINK = frozenset({"n1", "n2"})


@pytest.fixture
def links() -> Iterator[Links]:
    with closing(Links()) as made:
        yield made


@pytest.fixture
def node() -> Iterator[socket.socket]:
    """Where node `n1` really listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(30)
        yield listener


def reached(links: Links, node: socket.socket) -> int:
    """The port at which others reach it."""
    (port,) = free_ports(1)
    links.listen("n1", port, node.getsockname()[1])
    return port


def peer(port: int, name: bytes = b"n2") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(REQUEST % name)
    return connection


def test_both_directions_pass(links: Links, node: socket.socket) -> None:
    with closing(peer(reached(links, node))) as other, closing(node.accept()[0]) as here:
        assert here.recv(1000) == REQUEST % b"n2"
        here.sendall(b"answer")
        assert other.recv(1000) == b"answer"


def test_what_is_cut_waits_in_both_directions(links: Links, node: socket.socket) -> None:
    with closing(peer(reached(links, node))) as other, closing(node.accept()[0]) as here:
        here.recv(1000)
        for one, another in ((here, other), (other, here)):
            links.cut([("n1", "n2")])
            one.sendall(b"late")
            wait_until(lambda: LINK in links.held, "something to be held")
            another.setblocking(False)
            with pytest.raises(BlockingIOError):
                another.recv(1000)
            links.heal()
            another.settimeout(30)
            assert another.recv(1000) == b"late"


def test_new_connections_over_what_is_cut_wait(links: Links, node: socket.socket) -> None:
    port = reached(links, node)
    links.cut([("n2", "n1")])
    with closing(peer(port)):
        wait_until(lambda: LINK in links.held, "something to be held")
        node.setblocking(False)
        with pytest.raises(BlockingIOError):
            node.accept()
        links.heal()
        node.settimeout(30)
        with closing(node.accept()[0]) as here:
            assert here.recv(1000)


def test_others_are_not_cut_off(links: Links, node: socket.socket) -> None:
    port = reached(links, node)
    links.cut([("n2", "n1")])
    with closing(peer(port, b"n3")), closing(node.accept()[0]) as here:
        assert here.recv(1000) == REQUEST % b"n3"


def test_an_end_is_passed_on(links: Links, node: socket.socket) -> None:
    with closing(peer(reached(links, node))) as other, closing(node.accept()[0]) as here:
        here.recv(1000)
        other.close()
        assert here.recv(1000) == b""
