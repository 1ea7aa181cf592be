"""Proposals: each is settled once, sent again when it must be, and doubt is told exactly."""

from __future__ import annotations

import pytest

from raftdjango.applier import Applied
from raftdjango.node.writes import proposals as module
from raftdjango.node.writes.intake import Refused
from raftdjango.node.writes.proposals import Reason, Refusal
from tests.node.ground import Ground


@pytest.fixture
def ground() -> Ground:
    return Ground()


def test_the_leader_appends_and_its_applier_settles(ground):
    ground.lead("me", 1)
    ground.submit(b"a")
    assert ground.appended == [b"a"]
    ground.apply([b"a"])
    assert ground.ends[b"a"].index == 1


def test_a_worker_that_cannot_be_told_harms_nobody_else(ground, caplog):
    def gone(end: object) -> None:
        raise RuntimeError("the handler is closed")

    ground.lead("me", 1)
    ground.proposals.submit(b"a", b"command", deadline=ground.time + 9, settled=gone)
    ground.submit(b"b")
    ground.apply([b"a", b"b"])
    assert ground.ends[b"b"].index == 2
    assert len(ground.proposals) == 0
    assert "could not be told" in caplog.text


def test_a_follower_forwards_and_its_own_applier_settles(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    assert ground.forwarded == [("other", b"a")]
    ground.proposals.on_accepted(b"a", 1, 1)
    assert not ground.ends
    ground.apply([b"a"])
    assert isinstance(ground.ends[b"a"], Applied)


def test_without_a_leader_it_waits_and_was_never_sent(ground):
    ground.submit(b"a", timeout_s=5)
    ground.pass_time(4.9)
    assert not ground.ends
    ground.pass_time(0.2)
    assert ground.ends[b"a"].reason is Reason.UNAVAILABLE


def test_what_nobody_here_could_apply_is_not_passed_on(ground):
    ground.lead("other", 1)
    ground.holder = "process 7 (a shell)"
    ground.submit(b"a", timeout_s=5)
    ground.submit(b"b", timeout_s=60)
    ground.pass_time(5.1)
    assert ground.ends[b"a"].reason is Reason.UNAVAILABLE
    assert "held by process 7 (a shell)" in ground.ends[b"a"].message
    assert not ground.forwarded
    ground.holder = ""
    ground.pass_time(0.1)
    assert ground.forwarded == [("other", b"b")]


def test_what_was_passed_on_before_the_lock_was_held_is_uncertain_and_says_why(ground):
    ground.lead("other", 1)
    ground.submit(b"a", timeout_s=5)
    ground.holder = "process 7 (a shell)"
    ground.pass_time(5.1)
    assert ground.ends[b"a"].reason is Reason.UNCERTAIN
    assert "held by process 7 (a shell)" in ground.ends[b"a"].message


def test_without_a_leader_it_goes_once_there_is_one(ground):
    ground.submit(b"a")
    ground.lead("other", 2)
    assert ground.forwarded == [("other", b"a")]


@pytest.mark.parametrize("leader", ["me", "other"])
def test_what_was_appended_or_sent_is_uncertain_at_the_deadline(ground, leader):
    ground.lead(leader, 1)
    ground.submit(b"a", timeout_s=5)
    ground.pass_time(5.1)
    assert ground.ends[b"a"].reason is Reason.UNCERTAIN


def test_a_refusal_does_not_take_the_doubt_away(ground):
    """An earlier repeat of the same id may still be on its way to somebody."""
    ground.lead("other", 1)
    ground.submit(b"a", timeout_s=5)
    ground.proposals.on_refused(b"a")
    ground.lead(None, 1)
    ground.pass_time(5.1)
    assert ground.ends[b"a"].reason is Reason.UNCERTAIN


def test_a_busy_leader_is_asked_again(ground):
    ground.refusal = Refused.BUSY
    ground.lead("me", 1)
    ground.submit(b"a")
    assert ground.appended == []
    ground.refusal = None
    ground.pass_time(0.3)
    assert ground.appended == [b"a"]


def test_a_leader_that_stays_busy_was_never_given_it(ground):
    ground.refusal = Refused.BUSY
    ground.lead("me", 1)
    ground.submit(b"a", timeout_s=2)
    ground.pass_time(2.1)
    assert ground.ends[b"a"].reason is Reason.UNAVAILABLE


def test_a_refused_forward_is_sent_again(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    ground.proposals.on_refused(b"a")
    ground.pass_time(0.3)
    assert ground.forwarded == [("other", b"a")] * 2


def test_a_transport_error_sends_again(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    ground.proposals.on_undelivered(b"a")
    ground.pass_time(0.3)
    assert ground.forwarded == [("other", b"a")] * 2


def test_a_forward_without_an_answer_is_sent_again(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    ground.pass_time(0.9)
    assert len(ground.forwarded) == 1
    ground.pass_time(1.3)
    assert len(ground.forwarded) == 2


def test_what_the_present_leader_accepted_is_not_sent_again(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    ground.proposals.on_accepted(b"a", 1, 7)
    ground.pass_time(9)
    assert len(ground.forwarded) == 1


def test_too_large_is_final(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    ground.proposals.on_refused(b"a", too_large=True)
    assert ground.ends[b"a"].reason is Reason.TOO_LARGE


def test_too_large_here_is_final(ground):
    ground.refusal = Refused.TOO_LARGE
    ground.lead("me", 1)
    ground.submit(b"a")
    assert ground.ends[b"a"].reason is Reason.TOO_LARGE


@pytest.mark.parametrize("leader", ["me", "third"])
@pytest.mark.parametrize("before", ["me", "other"])
def test_too_large_for_the_next_leader_is_uncertain(ground, before, leader):
    """With a limit of its own: the one before may have appended it, and spread it."""
    ground.lead(before, 1)
    ground.submit(b"a")
    ground.refusal = Refused.TOO_LARGE
    ground.lead(leader, 2)
    ground.pass_time(3)
    if leader != "me":
        assert ground.forwarded[-1] == (leader, b"a")
        ground.proposals.on_refused(b"a", too_large=True)
    assert ground.ends[b"a"].reason is Reason.UNCERTAIN
    assert "TRANSACTION_BYTES_MAX" in ground.ends[b"a"].message


def test_a_place_taken_by_another_sends_again(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    ground.proposals.on_accepted(b"a", 1, 1)
    ground.apply([b"somebody else's"])
    assert ground.forwarded == [("other", b"a")] * 2


def test_a_place_taken_by_a_no_op_sends_again(ground):
    ground.lead("me", 1)
    ground.submit(b"a")
    ground.apply([None])
    assert ground.appended == [b"a"] * 2


def test_an_acceptance_for_a_place_already_applied_sends_again(ground):
    ground.lead("other", 1)
    ground.submit(b"a")
    ground.apply([b"somebody else's"])
    ground.proposals.on_accepted(b"a", 1, 1)
    assert len(ground.forwarded) == 1, "a leader whose applier is behind is not asked in a loop"
    ground.pass_time(0.3)
    assert ground.forwarded == [("other", b"a")] * 2


def test_a_late_acceptance_of_an_older_term_changes_nothing(ground):
    ground.lead("old", 1)
    ground.submit(b"a")
    ground.lead("new", 2)
    ground.pass_time(2.5)
    assert ground.forwarded[-1] == ("new", b"a")
    ground.proposals.on_accepted(b"a", 1, 5)
    sent = len(ground.forwarded)
    ground.pass_time(2.5)
    assert len(ground.forwarded) > sent, "the new leader was not asked again"


def test_a_new_leaders_first_entry_tells_what_was_lost(ground):
    """Not before: what survived is applied first, and sending it would append it twice."""
    ground.lead("old", 1)
    ground.submit(b"survived")
    ground.submit(b"lost")
    ground.proposals.on_accepted(b"survived", 1, 1)
    ground.proposals.on_accepted(b"lost", 1, 2)
    ground.pass_time(3)
    ground.lead("new", 2)
    ground.pass_time(0.9)
    assert len(ground.forwarded) == 2
    ground.apply([b"survived", None], term=2)
    assert isinstance(ground.ends[b"survived"], Applied)
    assert ground.forwarded[2:] == [("new", b"lost")]


def test_a_new_leader_is_asked_even_if_nothing_is_applied(ground):
    ground.lead("old", 1)
    ground.submit(b"a")
    ground.proposals.on_accepted(b"a", 1, 1)
    ground.lead("new", 2)
    ground.pass_time(2.5)
    assert ground.forwarded[-1] == ("new", b"a")


def test_an_id_that_waits_already_is_not_appended_again(ground):
    """A worker that lost its connection asks again under the same id."""
    ground.lead("me", 1)
    told = []
    for _ in range(2):
        ground.proposals.submit(b"a", b"x", deadline=200.0, settled=told.append)
    assert ground.appended == [b"a"]
    ground.apply([b"a"])
    assert len(told) == 2


def test_asking_again_extends_the_deadline(ground):
    ground.submit(b"a", timeout_s=1)
    told = []
    ground.proposals.submit(b"a", b"command", deadline=ground.time + 5, settled=told.append)
    ground.pass_time(3)
    assert not told
    assert not ground.ends


def test_nothing_is_taken_before_the_cluster_has_formed():
    ground = Ground()
    ground.proposals = module.Proposals(ground, now=lambda: ground.time)
    ground.lead("me", 1)
    ground.submit(b"a")
    assert ground.appended == []
    ground.proposals.submit(b"form", b"x", deadline=200.0, settled=lambda end: None, internal=True)
    assert ground.appended == [b"form"]
    ground.proposals.open()
    assert ground.appended == [b"form", b"a"]


def test_too_many_are_refused_as_busy(ground, monkeypatch):
    monkeypatch.setattr(module, "WAITING_PROPOSALS_MAX", 2)
    for name in (b"a", b"b", b"c"):
        ground.submit(name)
    assert ground.ends[b"c"].reason is Reason.BUSY
    assert len(ground.proposals) == 2


def test_too_many_bytes_are_refused_but_one_always_fits(ground, monkeypatch):
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 10)
    ground.submit(b"a", b"x" * 100)
    ground.submit(b"b", b"x")
    assert ground.ends[b"b"].reason is Reason.BUSY
    ground.lead("me", 1)
    ground.apply([b"a"])
    assert ground.proposals.waiting_bytes == 0
    ground.submit(b"c", b"x")
    assert b"c" not in ground.ends


def test_a_stopping_node_refuses_what_was_never_sent_and_waits_for_the_rest(ground):
    ground.lead("other", 1)
    ground.submit(b"sent")
    ground.lead(None, 1)
    ground.submit(b"unsent")
    stopping = Refusal(Reason.STOPPING, "stopping")
    ground.proposals.close(stopping)
    ground.submit(b"late")
    assert ground.ends == {b"unsent": stopping, b"late": stopping}
    ground.apply([b"sent"])
    assert isinstance(ground.ends[b"sent"], Applied)


def test_a_stopped_applier_leaves_doubt_only_where_there_is_some(ground):
    ground.lead("other", 1)
    ground.submit(b"sent")
    ground.lead(None, 1)
    ground.submit(b"unsent")
    ground.proposals.fail_all(Refusal(Reason.STOPPED_APPLYING, "disk full"))
    ground.submit(b"late")
    assert ground.ends[b"sent"].reason is Reason.UNCERTAIN
    assert ground.ends[b"unsent"].reason is Reason.STOPPED_APPLYING
    assert ground.ends[b"late"].reason is Reason.STOPPED_APPLYING


def test_a_duplicate_in_the_log_settles_nothing_twice(ground):
    ground.lead("me", 1)
    ground.submit(b"a")
    ground.apply([b"a", b"a"])
    assert ground.ends[b"a"].index == 1


def test_placing_one_may_place_and_settle_others(ground, monkeypatch):
    """As the end of an exclusive turn does, in the middle of a sweep and of placing."""
    append = ground.append
    for name in (b"holder", b"one", b"large"):
        ground.submit(name)

    def ending_a_turn(proposal_id, command):
        if proposal_id == b"large":
            return Refused.TOO_LARGE
        placed = append(proposal_id, command)
        if ground.appended == [b"holder"]:
            ground.proposals.place_unsent()
        return placed

    monkeypatch.setattr(ground, "append", ending_a_turn)
    ground.lead("me", 2)
    assert ground.ends[b"large"].reason is Reason.TOO_LARGE
    assert sorted(set(ground.appended)) == [b"holder", b"one"]
    ground.apply([b"holder", b"one"])
    assert len(ground.proposals) == 0
