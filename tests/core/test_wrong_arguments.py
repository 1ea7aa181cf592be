"""What is no command, time, name, setting or message is refused at the door, and changes nothing."""

from __future__ import annotations

import random

import pytest

from raftcore import (
    AddLearner,
    ChangeRefused,
    Config,
    HardState,
    Membership,
    NotLeader,
    Promote,
    RaftCore,
    Refused,
    SnapshotMeta,
)
from raftcore.storage import DiskSnapshots, MemoryLog, WriteAheadLog

ALONE = Membership(frozenset({"n1"}))
LONGEST = "x" * 255


def core_of(node_id="n1", bootstrap=ALONE, now_ms=0):
    return RaftCore(
        Config(node_id),
        MemoryLog(),
        hard_state=HardState(),
        bootstrap=bootstrap,
        applied_index=0,
        rng=random.Random(1),
        now_ms=now_ms,
    )


@pytest.fixture
def leader():
    """A leader that has committed an entry, with nothing left to do."""
    core = core_of()
    core.handle_timer(0)
    for _ in range(3):
        for effect in core.take_effects():
            if ticket := getattr(effect, "ticket", 0):
                core.persisted(ticket, 0)
    assert core.commit_index == 1
    return core


def unchanged(core):
    return core.last_index == 1 and core.take_effects() == []


@pytest.mark.parametrize("command", ["text", bytearray(b"bytes"), memoryview(b"bytes"), None])
def test_a_command_is_bytes(leader, command):
    with pytest.raises(TypeError, match="A command is bytes"):
        leader.propose(command, 1)
    assert unchanged(leader)


@pytest.mark.parametrize("now_ms", [0.5, "1", None])
def test_a_time_is_an_integer(leader, now_ms):
    with pytest.raises(TypeError, match="integer of milliseconds"):
        leader.propose(b"command", now_ms)
    with pytest.raises(TypeError, match="integer of milliseconds"):
        core_of(now_ms=now_ms)
    assert unchanged(leader)


def test_bytes_are_no_message(leader):
    with pytest.raises(TypeError, match="decode_message"):
        leader.receive(b"packet", 1)
    assert unchanged(leader)


@pytest.mark.parametrize("name", ["", LONGEST + "x", "\ud800", 4, None, ["n2"]])
def test_a_node_id_is_a_text_of_1_to_255_characters(leader, name):
    with pytest.raises(ChangeRefused, match="255 characters") as refusal:
        leader.change_membership([AddLearner(name)], 1)
    assert refusal.value.reason == "bad id"
    assert unchanged(leader)
    with pytest.raises(ValueError, match="255 characters"):
        Config(name)


@pytest.mark.parametrize("name", [LONGEST, "\u00e9\u4e16\U0001f600"])
def test_any_text_of_that_length_will_do(leader, name):
    assert Config(name).node_id == name
    assert leader.change_membership([AddLearner(name)], 1) == (2, 1)


@pytest.mark.parametrize("changes", [["n2"], [("n2",)], [None], AddLearner("n2")])
def test_a_change_is_one(leader, changes):
    with pytest.raises(TypeError):
        leader.change_membership(changes, 1)
    assert unchanged(leader)


@pytest.mark.parametrize("ids", [["n1"], "n1", {"n1"}])
def test_a_membership_is_made_of_frozensets(ids):
    with pytest.raises(TypeError, match="frozensets"):
        Membership(ids)
    with pytest.raises(TypeError, match="frozensets"):
        Membership(frozenset({"n1"}), witnesses=ids)


def test_a_membership_names_nodes():
    with pytest.raises(ValueError, match="'' is no node id"):
        Membership(frozenset({"n1", ""}))


@pytest.mark.parametrize(
    ("membership", "text"),
    [
        (Membership(frozenset({"n1", "n2"}), learners=frozenset({"n2"})), "at once: n2"),
        (Membership(frozenset({"n1", "n2"}), witnesses=frozenset({"n3"})), "no members: n3"),
    ],
)
def test_a_cluster_begins_with_each_node_as_one_thing(membership, text):
    with pytest.raises(ValueError, match=text):
        core_of(bootstrap=membership)


def test_a_node_that_knows_no_member_waits():
    core = core_of(bootstrap=Membership(frozenset()))
    assert core.next_timer() is None


@pytest.mark.parametrize(
    "settings",
    [
        {"heartbeat_ms": 1.5},
        {"inflight_max": "64"},
        {"priority": True},
        {"witness": 1},
        {"snapshots": None},
        {"clock_drift": "0.1"},
    ],
)
def test_a_setting_is_of_its_type(settings):
    with pytest.raises(TypeError, match=rf"{next(iter(settings))} \(.*\) has to be"):
        Config("n1", **settings)


def test_a_fraction_may_be_a_whole_number():
    assert Config("n1", clock_drift=0).clock_drift == 0


def test_a_snapshot_needs_the_setting(leader):
    with pytest.raises(ValueError, match="Switch it on"):
        leader.snapshot_taken(SnapshotMeta(1, 1, 0, ALONE), 1)


def test_all_refusals_are_of_one_kind(leader):
    with pytest.raises(Refused):
        leader.change_membership([Promote("n2")], 1)
    with pytest.raises(Refused):
        leader.transfer_leadership("n2", 1)
    follower = core_of(bootstrap=Membership(frozenset({"n1", "n2"})))
    with pytest.raises(Refused) as refusal:
        follower.propose(b"command", 1)
    assert isinstance(refusal.value, NotLeader)


def test_a_folder_may_be_a_text(tmp_path):
    WriteAheadLog.open(str(tmp_path / "log")).close()
    snapshots = DiskSnapshots(str(tmp_path / "snapshots"))
    (tmp_path / "state").write_bytes(b"state")
    meta = snapshots.adopt(SnapshotMeta(1, 1, 0, ALONE), str(tmp_path / "state"))
    assert meta.size == 5
