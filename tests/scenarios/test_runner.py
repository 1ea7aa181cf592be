"""The scenario runner itself: what differs is shown, what cannot be is named with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raftcore import Entry, EntryKind, SnapshotMeta
from raftcore.messages import Snapshot
from tests.scenarios import __main__ as program
from tests.scenarios import script
from tests.scenarios.script import BadScenario, perform
from tests.scenarios.world import Transit, Unsafe, World

HERE = script.CASES / "elections/no_such.txt"


def lines(text: str) -> list[str]:
    """What comes out, without the commands."""
    return [line[2:] for line in perform(text, HERE).splitlines() if line.startswith("  ")]


def test_what_is_golden_stays():
    text = "# Why.\n\n> cluster 1\n> status\n  n1  wrong\n\n# More.\n"
    once = perform(text, HERE)
    assert "wrong" not in once
    assert once.startswith("# Why.\n\n> cluster 1\n> status\n  n1  follower in term 0,")
    assert once.endswith("\n\n# More.\n")
    assert perform(once, HERE) == once


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("> cluster 2\n> tick n3\n", 2, "no node n3; there are n1 n2"),
        ("> cluster\n", 1, "how many nodes?"),
        ("> cluster 3 inflight=2\n", 1, "no option inflight"),
        ("> cluster 3 n4.priority=2\n", 1, "no option n4.priority"),
        ("> cluster 3\n> change n1 promote\n", 2, "each change is one of learner, witness,"),
        ("> cluster 3\n> node n3\n", 2, "n3 is there already"),
        ("> cluster 3\n> run\n", 2, "run <milliseconds>"),
        ("> cluster three\n", 1, "three is not a number"),
        ("# x\n\n> elect n1\n", 3, "no command elect; there are campaign, "),
        ("> silently\n", 1, "silently what?"),
        ("> cluster 1\n\n  output\n", 3, "output without a command above it"),
        ("campaign n1\n", 1, "begins with none of"),
        ("> cluster 1\n> crash n1\n> campaign n1\n", 3, "n1 is down"),
        ("> cluster 1\n> campaign n1\n> campaign n1\n", 3, "n1 leads already"),
        ("> cluster 1\n> write n1\n", 2, "n1 has nothing to write"),
        ("> cluster 1\n> cluster 1\n", 2, "there is a cluster already"),
        ("> cluster 2\n> given n1 log 1\n> given n1 log 1\n", 3, "n1 has a log already"),
        ("> cluster 2\n> progress n1\n", 2, "n1 does not lead"),
        ("> cluster 2\n> deliver n1->n2 n2->n1\n", 2, "at most one arrow"),
        ("> cluster 2\n> report n1->n2 sent\n", 2, "n1 sends n2 no snapshot"),
        ("> cluster 2\n> report n1->n2\n", 2, "report <node>-><node> sent|failed"),
        ("> cluster 2\n> lose n1 1\n", 2, "lose <node> <the first entry to be lost>"),
        ("> cluster 2\n> state n1 stuck\n", 2, "state <node> slow|fast"),
    ],
)
def test_what_cannot_be_is_named_with_file_and_line(text, line, reason):
    with pytest.raises(BadScenario) as caught:
        perform(text, HERE)
    message = str(caught.value)
    assert message.startswith(f"tests/scenarios/cases/elections/no_such.txt:{line}: ")
    assert reason in message


def test_silently_hides_what_a_command_brings_and_nothing_else():
    assert lines("> cluster 1\n> silently campaign n1\n> status\n") == [
        "n1  leader in term 1, vote n1, leader n1, log ends 1@1, commit 1, applied 1"
    ]


def test_what_is_told_again_is_told_once():
    assert lines("> cluster 3\n> silently campaign n1\n> tick n1 300\n") == [
        "n1 -> n2 n3  PreVote for term 1, log ends 0@0  (2 times)"
    ]


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("drop n1->n2", ["n1 -> n3", "n2 -> n1", "n2 -> n3"]),
        ("drop n1->", ["n2 -> n1", "n2 -> n3"]),
        ("drop ->n3", ["n1 -> n2", "n2 -> n1"]),
        ("drop PreVote 3", ["n2 -> n3"]),
        ("drop Heartbeat", ["n1 -> n2", "n1 -> n3", "n2 -> n1", "n2 -> n3"]),
        ("delay n1->", ["n2 -> n1", "n2 -> n3", "n1 -> n2", "n1 -> n3"]),
        ("repeat n2->n3", ["n1 -> n2", "n1 -> n3", "n2 -> n1", "n2 -> n3", "n2 -> n3"]),
        ("cut n1", ["n1 -> n2", "n1 -> n3", "n2 -> n1", "n2 -> n3"]),
    ],
)
def test_messages_are_chosen_by_sender_receiver_kind_and_number(command, left):
    text = f"> cluster 3\n> silently campaign n1\n> silently campaign n2\n> silently {command}\n"
    world = World()
    for line in text.splitlines():
        script.run(world, line[2:])
    assert [f"{transit.sender} -> {transit.to}" for transit in world.network] == left


def test_a_node_that_is_cut_off_neither_sends_nor_gets():
    text = "> cluster 2\n> silently campaign n1\n> cut n2\n> deliver\n> tick n1\n> network\n"
    assert lines(text) == [
        "n2 does not get PreVote from n1",
        "n1 -> n2  PreVote for term 1, log ends 0@0",
        "nothing is on its way",
    ]


def test_time_passes_for_everybody_alike():
    text = "> cluster 3 n2.election_timeout_ms=400\n> silently run 700\n> status n2\n"
    assert lines(text)[0].startswith("n2  leader in term 1,")


def test_a_snapshot_of_nothing_is_not_taken():
    assert lines("> cluster 1\n> snapshot n1\n") == ["n1 has nothing new to take a snapshot of"]


def test_a_state_that_a_snapshot_brings_is_looked_at_as_well():
    world = World()
    script.run(world, "cluster 2")
    one, other = (Entry(1, term, EntryKind.COMMAND, 0, b"x") for term in (1, 2))
    world["n1"].applied.append(one)
    meta = SnapshotMeta(1, 2, 0, world["n1"].bootstrap)
    world["n2"].snapshot_arrives(Snapshot(2, "n1", 1, meta), (other,))
    with pytest.raises(Unsafe, match="n2 applies 1@2 x, not 1@1 x"):
        world.collect()


def test_safety_is_looked_at_whatever_is_golden():
    world = World()
    script.run(world, "cluster 2")
    world["n1"].applied.append(Entry(1, 1, EntryKind.COMMAND, 0, b"x"))
    world["n2"].applied.append(Entry(1, 2, EntryKind.COMMAND, 0, b"y"))
    with pytest.raises(Unsafe, match="n2 applies 1@2 y, not 1@1 x"):
        world.collect()


def test_messages_without_end_are_noticed(monkeypatch):
    world = World()
    script.run(world, "cluster 2")
    monkeypatch.setattr(world, "deliver", world.network.append)
    world.network.append(Transit("n1", "n2", None))  # type: ignore[arg-type]
    with pytest.raises(script.ScenarioError, match="messages without end"):
        script.run(world, "stabilize")


def test_every_scenario_that_the_list_of_situations_names_exists():
    text = (script.CASES.parent / "README.md").read_text()
    beyond, before = text.split("Beyond those")[::-1]
    named = re.findall(r"`([a-z_0-9]+/[a-z_0-9]+)`", before)
    named += [
        f"snapshots/{name}" for name in re.findall(r"`([a-z_]+)`", beyond.split("\nAnd of")[0])
    ]
    known = {script.name_of(path) for path in script.paths()}
    assert set(named) <= known
    assert {name for name in known if name.startswith("snapshots/")} <= set(named)


@pytest.fixture
def cases(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(script, "CASES", tmp_path)
    (tmp_path / "right.txt").write_text("> cluster 1\n")
    (tmp_path / "wrong.txt").write_text("> cluster 1\n> logs\n  n1  1 1\n")
    return tmp_path


def test_the_program_shows_what_differs_and_rewrites_only_when_asked(cases, capsys):
    assert program.main([]) == 1
    shown = capsys.readouterr().out
    assert "-  n1  1 1\n+  n1\n" in shown
    assert "2 scenarios, 1 different, 0 that cannot be run" in shown
    assert (cases / "wrong.txt").read_text().endswith("  n1  1 1\n")

    assert program.main(["--rewrite", "right"]) == 0
    assert (cases / "wrong.txt").read_text().endswith("  n1  1 1\n")
    assert program.main(["--rewrite", "wrong"]) == 0
    assert "+  n1\n" in capsys.readouterr().out
    assert (cases / "wrong.txt").read_text() == "> cluster 1\n> logs\n  n1\n"
    assert program.main([]) == 0


def test_the_program_names_what_cannot_be_run(cases, capsys):
    (cases / "wrong.txt").write_text("> cluster\n")
    assert program.main(["--rewrite"]) == 1
    assert "wrong.txt:1: cluster: how many nodes?" in capsys.readouterr().out
    assert (cases / "wrong.txt").read_text() == "> cluster\n"


def test_the_programs_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        program.main(["--help"])
    shown = capsys.readouterr().out
    for name in ("cluster 3", "deliver [n1->n2]", "transfer n1 [n2]", "disk n1 slow|fast"):
        assert name in shown
