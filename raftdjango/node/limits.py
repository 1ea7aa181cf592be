"""Every bound of a raftnode, by name.  What does not fit is refused as busy, never queued without end."""

from __future__ import annotations

WAITING_PROPOSALS_MAX = 8192
"""Proposals of this node's own workers that are not settled yet; see also the bytes below."""
WAITING_BYTES_MAX = 256 * 1024 * 1024
"""Bytes of those; one proposal always fits, however large."""

RECENT_IDS_MAX = 16384
"""Ids that a leader remembers having appended in its term, so that a repeat costs no entry."""

LOG_QUEUE_BYTES_MAX = 128 * 1024 * 1024
"""Entries waiting for the disk; beyond it a leader answers busy and a follower lets messages drop."""
APPLY_QUEUE_BYTES_MAX = 128 * 1024 * 1024
"""Committed entries waiting for the database; beyond it as above."""
APPLY_BATCH_ENTRIES_MAX = 512
"""Entries handed to the applier in one call: it holds the database's write lock meanwhile."""
APPLY_BATCH_BYTES_MAX = 4 * 1024 * 1024

CHANNEL_CONNECTIONS_MAX = 2048
"""Workers connected to one group's socket."""
CHANNEL_FRAME_OVERHEAD = 64 * 1024
"""What a frame may hold beyond a command of the largest size."""
CHANNEL_INPUT_BYTES_MAX = 256 * 1024 * 1024
"""Bytes of unfinished frames over all connections; one large frame at a time always fits."""
CHANNEL_REQUESTS_MAX = 256
"""Unanswered requests of one connection."""

KEY_LEASE_COUNT_MIN = 16
KEY_LEASE_COUNT_MAX = 8192
KEY_BLOCK_COUNT_MAX = 1024 * 1024
"""Keys that one request may ask for."""
KEY_TABLES_MAX = 4096
"""Tables with a lease of their own."""
REFRESHES_MAX = 8192
"""Waiters for a read index; they share rounds, so each costs a callback only."""
TURNS_WAITING_MAX = 1024
"""Blocks that wait for an exclusive turn, at the leader and on each node; more are not let in."""
HELD_FORWARDS_MAX = 4096
"""Other nodes' proposals that a leader keeps until a turn is over; beyond it, it answers busy."""
HELD_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of those."""
TRANSFER_S = 2.0
"""How long a clean stop waits for another node to take over leadership."""
DRAIN_S = 2.0
"""How long a clean stop waits for proposals that are under way."""
DISK_STALL_S = 5.0
"""A leader whose own disk has not answered for so long hands leadership over."""

LOG_HERE_ENTRIES_MAX = 16
"""Entries that the event loop itself writes in one batch; with more, it has better things to do."""
LOG_HERE_BYTES_MAX = 64 * 1024
LOG_HERE_S = 0.002
"""What writing a batch may have taken lately for the loop to wait for the next."""
APPLY_HERE_ENTRIES_MAX = 8
"""Entries that the event loop itself applies in one batch."""
APPLY_HERE_BYTES_MAX = 16 * 1024
"""Of which the applier refuses more than some dozens of rows, and long ones: a few milliseconds remain."""
APPLY_HERE_S = 0.005
"""What applying a batch may have taken lately.  More than of a sync: most of it is this process' own
work, which a thread would do no sooner."""
APPLY_HERE_IN_A_ROW = 64
"""Batches that the event loop applies until the thread gets one, and with it the checkpoint of
SQLite's write-ahead log if that is due."""
