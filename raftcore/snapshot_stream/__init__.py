"""The state of a snapshot on its way from a leader to a follower, in chunks (paper §7).

No sockets, files or clocks: `SnapshotSender` says what to read and gives out chunks,
`SnapshotReceiver` says what to write and gives out receipts, and both are told the time.  One chunk
is on its way at a time, so memory is bounded by its size at both ends.

The receiver says how much it has, and the sender goes on from there: after a loss, at a restart of
the sender, or from another leader that has the same snapshot.  Each chunk carries a checksum, and
what the whole must come to; nothing is handed over that does not.

    sender                                receiver
    next(now) -> Wanted(offset, length)
    chunk(wanted, data read there)    ->  receive(chunk, now, commit_index) -> Received: what to do
    answered(receipt, now)            <-  receipt, once that is done

Whoever sends decides how long to wait for a receipt and then calls `lost(now)`; `answered` tells
whether a receipt is the one awaited.
"""

from raftcore.snapshot_stream.chunk import (
    Chunk,
    Receipt,
    Verdict,
    decode_chunk,
    decode_receipt,
    encode_chunk,
    encode_receipt,
)
from raftcore.snapshot_stream.receiver import Received, SnapshotReceiver
from raftcore.snapshot_stream.sender import SnapshotSender, Wanted

__all__ = [
    "Chunk",
    "Receipt",
    "Received",
    "SnapshotReceiver",
    "SnapshotSender",
    "Verdict",
    "Wanted",
    "decode_chunk",
    "decode_receipt",
    "encode_chunk",
    "encode_receipt",
]
