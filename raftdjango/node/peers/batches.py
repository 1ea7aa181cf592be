"""A batch and its bytes: the items of `PeerTransport.send` in one `peer.Batch`.

Large ones have a form of their own, in which what is long stands behind the batch.  So it is copied
once on its way out of the received bytes and not at all on its way in: every copy of tens of
megabytes keeps the interpreter, and with it the loop, for longer than a heartbeat should wait.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from raftcore.codec import decode_message, encode_message
from raftcore.errors import Malformed
from raftcore.messages import AppendEntries, ReadIndex, ReadIndexResponse
from raftdjango.node.peers import peer_pb2 as pb
from raftdjango.node.peers.port import Forward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from raftdjango.node.forming.decisions import Nodes
    from raftdjango.node.peers.port import PeerItem
    from raftdjango.node.rope import Rope

LATER = (ReadIndex, ReadIndexResponse)
"""Kinds of core messages that a peer of an earlier release may not know."""
HEAD_BYTES = 4
"""Of a large batch: the length of the `Batch`."""


def make_batch(items: Iterable[PeerItem], *, forming: Nodes = ()) -> pb.Batch:
    """`items` in one message; `forming` says which configuration the sender would form from."""
    raft, later, forwards, answers, turns, facts = [], [], [], [], [], None
    for item in items:
        if isinstance(item, Forward):
            forwards.append(pb.Forward(proposal_id=item.proposal_id, command=item.command))
        elif isinstance(item, pb.ForwardAnswer):
            answers.append(item)
        elif isinstance(item, pb.Turn):
            turns.append(item)
        elif isinstance(item, pb.MemberFacts):
            facts = item  # the latest says all
        elif isinstance(item, LATER):
            later.append(encode_message(item))
        else:
            raft.append(encode_message(item))
    nodes = [pb.Node(id=node_id, url=url) for node_id, url in forming]
    return pb.Batch(
        raft=raft,
        later=later,
        forwards=forwards,
        answers=answers,
        turns=turns,
        forming=nodes,
        facts=facts,
    )


def encode_batch(items: Iterable[PeerItem], *, forming: Nodes = ()) -> bytes:
    """As `make_batch`, serialized."""
    return make_batch(items, forming=forming).SerializeToString()


def decode_batch(batch: pb.Batch) -> list[PeerItem]:
    """The items of a batch; raises `raftcore.errors.Malformed`."""
    items: list[PeerItem] = [decode_message(data) for data in (*batch.raft, *batch.later)]
    items.extend([Forward(each.proposal_id, each.command) for each in batch.forwards])
    items.extend(batch.answers)
    items.extend(batch.turns)
    if batch.HasField("facts"):
        items.append(batch.facts)
    return items


def nodes_of(batch: pb.Batch) -> Nodes:
    """The configuration that the sender would form from, as it says."""
    return tuple((node.id, node.url) for node in batch.forming)


# -- large ones ------------------------------------------------------------------------------------


def encode_large(items: Iterable[PeerItem], *, forming: Nodes = ()) -> list[bytes]:
    """`items` in the form of large batches: its bytes are these, one behind another."""
    short: list[PeerItem] = []
    entries, commands = [], []
    for item in items:
        if isinstance(item, AppendEntries):
            entries += [entry.data for entry in item.entries]
            bare = tuple([replace(entry, data=b"") for entry in item.entries])
            short.append(replace(item, entries=bare))
        elif isinstance(item, Forward):
            commands.append(item.command)
            short.append(replace(item, command=b""))
        else:
            short.append(item)
    batch = make_batch(short, forming=forming)
    batch.behind.extend(map(len, (*entries, *commands)))
    head = batch.SerializeToString()
    return [len(head).to_bytes(HEAD_BYTES, "big"), head, *entries, *commands]


def decode_large(whole: Rope) -> list[PeerItem]:
    """The items of a large batch; raises `raftcore.errors.Malformed`."""
    end = HEAD_BYTES + int.from_bytes(whole.read(0, HEAD_BYTES), "big")
    try:
        batch = pb.Batch.FromString(whole.read(HEAD_BYTES, end - HEAD_BYTES))
    except DecodeError as error:
        raise Malformed(f"the pieces give no batch: {error}") from error
    items = decode_batch(batch)
    lacking = sum(map(_lengths, items))
    if end + sum(batch.behind) != len(whole) or len(batch.behind) != lacking:
        raise Malformed("the pieces give a batch whose parts do not fit")
    parts = _cut(whole, end, batch.behind)
    return [_filled(item, parts) for item in items]


def _lengths(item: PeerItem) -> int:
    """How many of the lengths in `Batch.behind` are this item's."""
    if isinstance(item, AppendEntries):
        return len(item.entries)
    return 1 if isinstance(item, Forward) else 0


def _cut(whole: Rope, start: int, lengths: Iterable[int]) -> Iterator[bytes]:
    for length in lengths:
        yield whole.read(start, length)
        start += length


def _filled(item: PeerItem, parts: Iterator[bytes]) -> PeerItem:
    if isinstance(item, AppendEntries):
        return replace(
            item, entries=tuple([replace(entry, data=next(parts)) for entry in item.entries])
        )
    return replace(item, command=next(parts)) if isinstance(item, Forward) else item
