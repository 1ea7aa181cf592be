"""Any number of losses, copies, delays and restarts: what arrives is what was sent, and it arrives."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftcore.snapshot_stream import Chunk
from tests.snapshot_stream.ends import Receiving, Sending, message

OLD = b"the older snapshot, " * 20
NEW = b"the newer one of them, " * 30
OTHER = b"the same entry, in other bytes " * 22

ONE_AFTER_THE_OTHER = (
    (OLD, message(OLD, index=30)),
    (NEW, message(NEW, index=40)),
    (NEW, message(NEW, index=40, term=6)),
    (OTHER, message(OTHER, index=40, term=6, session=2)),
)
"""A newer one, the same by a later leader, and one begun anew."""


class Transfer(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.sent: list[Chunk] = []
        self.receiving = Receiving()
        self.waiting = list(ONE_AFTER_THE_OTHER)
        self.next_sender()

    @precondition(lambda self: self.waiting)
    @rule()
    def next_sender(self) -> None:
        content, of = self.waiting.pop(0)
        self.sending = Sending(
            content, of, self.now_ms, chunk_bytes=64, bytes_per_s=100_000, attempts_max=1000
        )

    @rule(step_ms=st.sampled_from([1, 1000, 20_000]))
    def time_passes(self, step_ms: int) -> None:
        self.now_ms += step_ms

    @rule(times=st.integers(0, 2), full=st.booleans(), answer=st.booleans())
    def a_chunk_is_sent(self, times: int, *, full: bool, answer: bool) -> None:
        """It comes so many times, to a disk that may be full; an answer may come back."""
        chunk = self.sending.next(self.now_ms)
        if chunk is None:
            return
        self.sent.append(chunk)
        receipt = None
        self.receiving.full = full
        for _ in range(times):
            receipt = self.receiving.receive(chunk, self.now_ms)
        self.receiving.full = False
        if receipt is None or not answer:
            self.sending.sender.lost(self.now_ms)
        else:
            self.sending.answered(receipt, self.now_ms)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def a_chunk_comes_late(self, data: st.DataObject) -> None:
        self.receiving.receive(data.draw(st.sampled_from(self.sent)), self.now_ms)

    @rule(chunks=st.integers(1, 12))
    def all_goes_well_for_a_while(self, chunks: int) -> None:
        for _ in range(chunks):
            self.a_chunk_is_sent(1, full=False, answer=True)
            self.now_ms += 1

    @rule()
    def the_receiver_starts_anew(self) -> None:
        self.receiving.restart()

    @invariant()
    def what_arrives_is_what_was_sent(self) -> None:
        for one in self.receiving.arrived:
            content = self.receiving.content(one)
            assert (content, one.meta) in {(what, of.meta) for what, of in ONE_AFTER_THE_OTHER}
        self.receiving.arrived.clear()

    def teardown(self) -> None:
        # Nothing goes wrong any more, and whoever else was sending is silent.
        sending, receiving = self.sending, self.receiving
        if sending.sender.ok is None:
            self.now_ms += 20_000
            for _ in range(100):
                self.a_chunk_is_sent(1, full=False, answer=True)
                self.now_ms = max(self.now_ms, sending.sender.next_timer() or 0)
        if sending.sender.ok:
            assert receiving.content(sending.of) == sending.content


TestTransfer = Transfer.TestCase
TestTransfer.settings = settings(
    derandomize=True, max_examples=150, stateful_step_count=40, database=None
)
