"""Refreshing: rounds are shared, and never answered by a round that began before."""

from __future__ import annotations

import pytest

from raftdjango.applier import Applied
from raftdjango.node.consensus.reads import BarrierReads
from raftdjango.node.writes.proposals import Reason, Refusal
from raftdjango.writeset import Barrier, Verdict, VerdictKind, decode_command


class Rounds:
    def __init__(self) -> None:
        self.begun: list = []
        self.reads = BarrierReads(self, cluster_time_ms=lambda: 0, now=lambda: 0.0)

    def submit(self, proposal_id, command, *, deadline, settled):
        assert decode_command(command).body == Barrier()
        self.begun.append(settled)

    def end(self, index: int) -> None:
        self.begun.pop(0)(Applied(index, b"id", Verdict(VerdictKind.APPLIED), 0))

    def ask(self) -> list:
        got: list = []
        self.reads.refresh(deadline=10.0, refreshed=got.append)
        return got


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def test_those_who_come_during_a_round_share_the_next(rounds):
    first = rounds.ask()
    second, third = rounds.ask(), rounds.ask()
    assert len(rounds.begun) == 1
    rounds.end(5)
    assert (first, second, third) == ([5], [], [])
    assert len(rounds.begun) == 1
    rounds.end(6)
    assert (second, third) == ([6], [6])
    assert rounds.begun == []


def test_doubt_about_an_empty_entry_is_plain_unavailability(rounds):
    got = rounds.ask()
    rounds.begun.pop()(Refusal(Reason.UNCERTAIN, "?"))
    assert got[0].reason is Reason.UNAVAILABLE
    rounds.ask()
    assert len(rounds.begun) == 1
