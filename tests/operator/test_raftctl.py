"""`raftctl status`: what it prints, and the codes it ends with."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from raftdjango.management.commands.raftctl import Command
from raftdjango.management.tables import table
from raftdjango.status import Health, ago, members
from tests.operator.fakes import FOLLOWER_STATUS, LEADER_STATUS, TOLD_STATUS, raftnode_says

pytestmark = pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")


def raftctl(*arguments: str) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("raftctl", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def test_json_is_what_the_node_says() -> None:
    with raftnode_says(LEADER_STATUS):
        assert json.loads(raftctl("status", "--json")) == LEADER_STATUS


def test_table_shows_all_facts() -> None:
    with raftnode_says(LEADER_STATUS):
        lines = raftctl("status").splitlines()
    assert lines[0] == "cluster 5f0c7d1e9a, group default"
    assert lines[1] == "asked n1, leader in term 7; leader: n1"
    assert lines[2] == "commit index 123,456, applied index 123,450"
    assert lines[3] == (
        "log 3.0 MB, 32.0 MB on disk with the room kept free for more; "
        "this version does not compact it"
    )
    first, second, third = (line.split() for line in lines[-3:])
    assert first[:4] == ["*", "n1", "http://127.0.0.1:7001", "leader"]
    assert first[-2:] == ["in", "step"]
    assert second[2:5] == ["follower", "120,000", "3,456"]
    assert second[-1] == "behind"
    assert "65 seconds ago" in " ".join(third)
    assert third[-3:] == ["does", "not", "answer"]


def test_follower_does_not_pretend_to_know() -> None:
    with raftnode_says(FOLLOWER_STATUS):
        lines = raftctl("status").splitlines()
    assert "asked n2, follower in term 7; leader: n1" in lines
    assert lines[-3].split()[3:] == ["-", "-", "-", "not", "known", "here"]
    assert lines[-1] == "Only the leader hears from every node, and n1 has not said anything yet."


def test_follower_shows_what_its_leader_said_and_when() -> None:
    with raftnode_says(TOLD_STATUS):
        lines = raftctl("status").splitlines()
    third = lines[-3].split()
    assert third[:5] == ["n3", "http://127.0.0.1:7003", "follower", "100", "0"]
    assert third[5:] == ["4", "seconds", "ago", "in", "step"]
    assert lines[-1] == "Only the leader hears from every node: what n1 said 4 seconds ago."


def test_member_that_a_new_leader_has_not_heard_of() -> None:
    """What the last leader knew of it is not repeated as if it were news."""
    unheard = {"role": None, "match_index": None, "lag": None, "last_contact_ms": None}
    rows = [*LEADER_STATUS["members"][:2], {**LEADER_STATUS["members"][2], **unheard}]
    with raftnode_says({**LEADER_STATUS, "members": rows}):
        last = raftctl("status").splitlines()[-1]
    address = "http://127.0.0.1:7003"
    assert last.split() == ["n3", address, *"----", "not", "heard", "since", "the", "election"]


def test_no_leader_is_said() -> None:
    with raftnode_says({**LEADER_STATUS, "leader": None, "role": "candidate"}):
        assert "leader: none at the moment: writes wait" in raftctl("status")


def test_node_that_is_not_ready_says_why() -> None:
    with raftnode_says({**LEADER_STATUS, "not_ready_reason": "stopped applying: disk full"}):
        assert "n1 is not ready: stopped applying: disk full" in raftctl("status")


def test_unreachable_ends_with_2_and_the_next_command() -> None:
    with raftnode_says(None), pytest.raises(CommandError) as caught:
        raftctl("status", "--timeout", "0.1")
    assert caught.value.returncode == 2
    assert "/x/node.sock" in str(caught.value)
    assert "manage.py raftnode" in str(caught.value)
    assert "Nothing was written" not in str(caught.value)


@pytest.mark.parametrize("alias", ["plain", "nowhere"])
def test_alias_that_is_not_replicated_ends_with_2(alias: str) -> None:
    with pytest.raises(CommandError, match=r"default, other") as caught:
        raftctl("status", "--database", alias)
    assert caught.value.returncode == 2


def test_other_alias_is_asked() -> None:
    with raftnode_says({**LEADER_STATUS, "node": "n3"}, alias="other"):
        assert "group other" in raftctl("status", "--database", "other")


def test_no_replicated_database(settings: Any) -> None:
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
    with pytest.raises(CommandError, match="ENGINE") as caught:
        raftctl("status")
    assert caught.value.returncode == 2


@pytest.mark.parametrize("first", [True, False])
def test_the_options_of_all_commands_stand_before_the_verb_or_after_it(
    first: bool, tmp_path: Path
) -> None:
    options = ["--settings", "demo_site.settings", "--pythonpath", ".", "-v", "2", "--traceback"]
    options += ["--no-color", "--skip-checks"]
    environment = {**os.environ, "DEMO_FOLDER": str(tmp_path), "DEMO_ENGINE": ""}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    verb = ["status", "--timeout", "0.1"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "django",
            "raftctl",
            *((options + verb) if first else (verb + options)),
        ],
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "unrecognized" not in done.stderr
    assert done.stderr.startswith("Traceback"), "as --traceback asks for"
    assert "manage.py raftnode" in done.stderr


@pytest.mark.parametrize("arguments", [["--verbosity", "0", "status"], ["status", "-v", "0"]])
def test_an_option_before_the_verb_is_not_forgotten(arguments: list[str]) -> None:
    parser = Command().create_parser("manage.py", "raftctl")
    assert parser.parse_args(arguments).verbosity == 0
    assert Command().create_parser("manage.py", "raftctl").parse_args(["status"]).verbosity == 1


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["status", "--database", "plain"], ["status", "--timeout", "0.1"]]
)
def test_shell_sees_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    """Wrong usage, and a raftnode that is not there; without a traceback."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "demo_site.settings"}
    done = subprocess.run(
        [sys.executable, "manage.py", "raftctl", *arguments],
        env={**environment, "DEMO_FOLDER": str(tmp_path), "DEMO_ENGINE": ""},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


class TestHealth:
    def health(self, **changes: Any) -> dict[str, Health]:
        status = {**LEADER_STATUS, **changes}
        return {member.id: member.health for member in members(status)}

    def test_leader_judges_by_lag_and_contact(self) -> None:
        assert self.health() == {"n1": Health.GOOD, "n2": Health.BEHIND, "n3": Health.SILENT}

    def test_leader_that_has_not_heard_of_one_says_no_more_than_that(self) -> None:
        rows = [{**row, "last_contact_ms": None} for row in LEADER_STATUS["members"]]
        assert self.health(members=rows)["n2"] is Health.UNHEARD

    def test_age_of_the_leaders_word_makes_nobody_silent(self) -> None:
        assert {m.id: m.health for m in members(TOLD_STATUS)}["n3"] is Health.GOOD

    def test_leader_told_that_one_is_silent(self) -> None:
        rows = [dict(row) for row in TOLD_STATUS["members"]]
        for contact, health in ((None, Health.UNHEARD), (4000 + 65000, Health.SILENT)):
            rows[2]["last_contact_ms"] = contact
            judged = {m.id: m.health for m in members({**TOLD_STATUS, "members": rows})}
            assert judged["n3"] is health

    def test_leader_itself_is_heard_first_hand(self) -> None:
        rows = [dict(row) for row in TOLD_STATUS["members"]]
        rows[0]["last_contact_ms"] = 3000
        judged = {m.id: m.health for m in members({**TOLD_STATUS, "members": rows})}
        assert judged["n1"] is Health.SILENT

    def test_node_that_is_not_ready(self) -> None:
        assert self.health(not_ready_reason="disk full")["n1"] is Health.NOT_READY

    def test_node_that_applies_slowly(self) -> None:
        assert self.health(applied_index=0)["n1"] is Health.BEHIND


def test_columns_line_up() -> None:
    text = table(["node", "lag"], [["n1", "5"], ["a-long-name", "12,345"]], right={"lag"})
    assert text.splitlines() == [
        "node            lag",
        "n1                5",
        "a-long-name  12,345",
    ]


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, ""),
        (0, "0 ms ago"),
        (999, "999 ms ago"),
        (1000, "1 second ago"),
        (119_999, "119 seconds ago"),
        (120_000, "2 minutes ago"),
    ],
)
def test_ago(milliseconds: int | None, words: str) -> None:
    assert ago(milliseconds) == words
