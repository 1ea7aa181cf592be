"""A batch and its bytes: the items of `PeerTransport.send` in one `peer.Batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftcore.codec import decode_message, encode_message
from raftdjango.node.peer_pb2 import Batch, Forward, ForwardAnswer, MemberFacts, Node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from raftdjango.node.forming import Nodes
    from raftdjango.node.peers import PeerItem


def make_batch(items: Iterable[PeerItem], *, forming: Nodes = ()) -> Batch:
    """`items` in one message; `forming` says which configuration the sender would form from."""
    raft, forwards, answers, facts = [], [], [], None
    for item in items:
        if isinstance(item, Forward):
            forwards.append(item)
        elif isinstance(item, ForwardAnswer):
            answers.append(item)
        elif isinstance(item, MemberFacts):
            facts = item  # the latest says all
        else:
            raft.append(encode_message(item))
    nodes = [Node(id=node_id, url=url) for node_id, url in forming]
    return Batch(raft=raft, forwards=forwards, answers=answers, forming=nodes, facts=facts)


def encode_batch(items: Iterable[PeerItem], *, forming: Nodes = ()) -> bytes:
    """As `make_batch`, serialized."""
    return make_batch(items, forming=forming).SerializeToString()


def decode_batch(batch: Batch) -> list[PeerItem]:
    """The items of a batch; raises `raftcore.errors.Malformed`."""
    items: list[PeerItem] = [decode_message(data) for data in batch.raft]
    items.extend(batch.forwards)
    items.extend(batch.answers)
    if batch.HasField("facts"):
        items.append(batch.facts)
    return items


def nodes_of(batch: Batch) -> Nodes:
    """The configuration that the sender would form from, as it says."""
    return tuple((node.id, node.url) for node in batch.forming)
