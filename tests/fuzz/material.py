"""Bytes to feed to decoders, and what none of them may do with them."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from raftcore import Entry, EntryKind, Membership, Message, SnapshotMeta
from raftcore.codec import NUMBER_MAX, encode_membership
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

EXAMPLES = int(os.environ.get("RAFT_FUZZ_EXAMPLES", "400"))
seeded = settings(derandomize=True, max_examples=EXAMPLES, database=None)
"""The same bytes in every run; RAFT_FUZZ_EXAMPLES asks for more of them."""

T = TypeVar("T")

numbers = st.one_of(st.integers(0, 5), st.integers(0, NUMBER_MAX))
ids = st.text(min_size=1, max_size=255).filter(lambda text: text.isprintable())


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    voters, learners, outgoing, gone = (
        frozenset(draw(st.sets(ids, min_size=least, max_size=3))) for least in (1, 0, 0, 0)
    )
    learners -= voters | outgoing
    return Membership(
        voters,
        learners,
        outgoing,
        witnesses=frozenset(sorted(learners)[:1]),
        removed=gone - voters - learners - outgoing,
    )


contents = dict.fromkeys(EntryKind, st.binary(max_size=40))
contents[EntryKind.MEMBERSHIP] = memberships().map(encode_membership)
"""What entries of a kind hold."""


@st.composite
def append_entries(draw: st.DrawFn) -> AppendEntries:
    # Often at the very beginning, where an empty log takes them.
    prev = draw(st.one_of(st.just(0), st.integers(0, 1000)))
    prev_term = draw(st.integers(0, 9)) if prev else 0
    terms = sorted(draw(st.lists(st.integers(max(prev_term, 1), 20), max_size=6)))
    entries = tuple(
        Entry(prev + 1 + i, term, kind, draw(numbers), draw(contents[kind]))
        for i, term in enumerate(terms)
        for kind in [draw(st.sampled_from(EntryKind))]
    )
    term = draw(st.integers(20, NUMBER_MAX))
    return AppendEntries(term, draw(ids), prev, prev_term, entries, draw(numbers), draw(numbers))


@st.composite
def metas(draw: st.DrawFn) -> SnapshotMeta:
    index = draw(st.one_of(st.integers(1, 5), st.integers(1, NUMBER_MAX)))
    return SnapshotMeta(
        index=index,
        term=draw(st.integers(1, 9)),
        time_ms=draw(numbers),
        membership=draw(memberships()),
        membership_index=draw(st.integers(0, index)),
        size=draw(numbers),
    )


fields: dict[type, tuple[st.SearchStrategy[object], ...]] = {
    AppendEntriesResponse: (
        *(numbers, ids, numbers, st.booleans(), numbers, numbers, numbers, numbers, st.booleans()),
    ),
    Heartbeat: (numbers, ids, numbers, numbers, numbers, st.integers(0, 9)),
    HeartbeatResponse: (numbers, ids, numbers, st.integers(0, 9)),
    PreVote: (numbers, ids, numbers, numbers),
    PreVoteResponse: (numbers, ids, st.booleans()),
    ReadIndex: (numbers, ids, numbers),
    ReadIndexResponse: (numbers, ids, numbers, st.booleans(), numbers),
    Removed: (numbers, ids),
    RequestVote: (numbers, ids, numbers, numbers, st.booleans()),
    RequestVoteResponse: (numbers, ids, st.booleans()),
    Snapshot: (st.integers(9, NUMBER_MAX), ids, numbers, metas()),
    TimeoutNow: (numbers, ids),
}
"""Of every kind of message but AppendEntries."""
messages: st.SearchStrategy[Message] = st.one_of(
    append_entries(), *(st.builds(kind, *parts) for kind, parts in fields.items())
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Good bytes with a few changes: flipped, cut, doubled, moved, overwritten."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        stop = draw(st.integers(at, min(at + 40, len(data))))
        match draw(st.sampled_from(["flip", "cut", "drop", "double", "insert", "set", "move"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "drop":
                del data[at:stop]
            case "double":
                data[at:at] = data[at:stop]
            case "insert":
                data[at:at] = draw(st.binary(max_size=12))
            case "set":
                filling = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f", b"\x80"]))
                data[at:stop] = filling * (stop - at)
            case "move":
                part = data[at:stop]
                del data[at:stop]
                to = draw(st.integers(0, len(data)))
                data[to:to] = part
    return bytes(data)


def frugal(decode: Callable[[bytes], T], data: bytes) -> T:
    """Decode, and see that it has not taken memory out of proportion to what there is to read."""
    tracemalloc.start()
    try:
        return decode(data)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 300_000 + 200 * len(data), f"{peak} bytes for {len(data)}"
