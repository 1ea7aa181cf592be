"""The leader's intake: each id once per term, and why not."""

from __future__ import annotations

import pytest

from raftcore import NotLeader, ProposalRefused
from raftdjango.node.writes import intake as module
from raftdjango.node.writes.intake import Intake, Refused


class Core:
    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.term = 1
        self.error: Exception | None = None

    def propose(self, data: bytes, now_ms: int) -> tuple[int, int]:
        if self.error:
            raise self.error
        self.entries.append(data)
        return len(self.entries), self.term


@pytest.fixture
def core() -> Core:
    return Core()


def intake_of(core: Core, *, overloaded: bool = False) -> Intake:
    return Intake(core, command_bytes_max=100, overloaded=lambda: overloaded, now_ms=lambda: 0)


def test_a_repeated_id_is_answered_with_its_place(core):
    intake = intake_of(core)
    assert intake.append(b"a", b"1") == (1, 1)
    assert intake.append(b"b", b"2") == (2, 1)
    assert intake.append(b"a", b"1") == (1, 1)
    assert core.entries == [b"1", b"2"]


def test_a_repeat_of_what_is_applied_is_an_entry_again(core):
    """Only an entry brings the outcome to a node that met the first before it was asked."""
    intake = intake_of(core)
    intake.append(b"a", b"1")
    intake.applied(b"a")
    assert intake.append(b"a", b"1") == (2, 1)


def test_another_term_forgets_places(core):
    intake = intake_of(core)
    intake.append(b"a", b"1")
    core.term = 2
    intake.forget()
    assert intake.append(b"a", b"1") == (2, 2)


def test_remembered_ids_are_bounded(core, monkeypatch):
    monkeypatch.setattr(module, "RECENT_IDS_MAX", 2)
    intake = intake_of(core)
    for name in (b"a", b"b", b"c"):
        intake.append(name, name)
    assert intake.append(b"a", b"a") == (4, 1)
    assert intake.append(b"c", b"c") == (3, 1)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (NotLeader("n2"), Refused.NOT_LEADER),
        (ProposalRefused("busy"), Refused.BUSY),
        (ProposalRefused("transferring"), Refused.TRANSFERRING),
    ],
)
def test_the_cores_refusals_are_named(core, error, refused):
    core.error = error
    assert intake_of(core).append(b"a", b"1") is refused


def test_full_queues_are_busy(core):
    assert intake_of(core, overloaded=True).append(b"a", b"1") is Refused.BUSY


def test_a_command_beyond_the_bound_is_too_large(core):
    assert intake_of(core).append(b"a", b"x" * 101) is Refused.TOO_LARGE
    assert intake_of(core).append(b"a", b"x" * 100) == (1, 1)
