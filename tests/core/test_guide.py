"""What the guide to `raftcore` says is so: its programs run, and nothing that it should name is left out."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack, suppress
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import get_args

import pytest

import raftcore
import raftcore.snapshot_stream
import raftcore.storage
from raftcore import (
    ChangeRefusal,
    Config,
    Effect,
    Entry,
    EntryKind,
    HardState,
    JointMode,
    Membership,
    MemberStatus,
    RaftCore,
    Role,
    Snapshot,
    SnapshotMeta,
    Status,
)
from raftcore.config import MIB
from raftcore.snapshot_stream import Received, SnapshotReceiver, SnapshotSender, Verdict, Wanted
from raftcore.storage import DiskSnapshots, WriteAheadLog

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/raftcore.md").read_text() + (ROOT / "docs/raftcore-running.md").read_text()
REFERENCE = (ROOT / "docs/ref/raftcore.md").read_text()
PROGRAMS = {
    name: code for code, name in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", GUIDE, re.DOTALL)
}
SECONDS_MAX = 120
"""A program that has not ended by then does not end."""


def section(title: str) -> str:
    """Of the reference."""
    return REFERENCE.split(f"## {title}\n")[1].split("\n## ")[0]


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that knows of `raftcore` what is in this tree."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with all programs of the guide."""
    folder = tmp_path_factory.mktemp("guide")
    for name, code in PROGRAMS.items():
        (folder / name).write_text(code)
    return folder


def test_all_code_is_in_programs():
    assert GUIDE.count("```python") == len(PROGRAMS)
    assert {"node.py", "cluster.py"} < set(PROGRAMS)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("demo.py", "a command is key=value\n"),
        ("witness.py", "witness\n"),
        ("pieces.py", "3000000 bytes in "),
        ("traced.py", '"commit_index":3'),
        ("seeds.py", ""),
    ],
)
def test_a_program_of_the_guide_runs(programs, name, says):
    result = run(name, folder=programs)
    assert result.returncode == 0, result.stderr
    assert says in result.stdout
    assert result.stderr == ""


SERVERS = ("n1", "n2", "n3", "n4")
FOUNDERS = SERVERS[:3]


class Servers:
    """The guide's servers as processes, and its client."""

    def __init__(self, programs, folder, stack):
        self.programs, self.folder, self.stack = programs, folder, stack
        self.ports = free_pairs_of_ports(len(SERVERS))
        self.addresses = {
            name: f"127.0.0.1:{port}" for name, port in zip(SERVERS, self.ports, strict=True)
        }
        self.processes = {}

    def start(self, name, names=FOUNDERS):
        founders = [f"{founder}={self.addresses[founder]}" for founder in names]
        own = f"{name}={self.addresses[name]}"
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "server.py", own, str(self.folder), *founders],
            cwd=self.programs,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes[name] = self.stack.enter_context(process)
        self.stack.callback(process.kill)

    def ask(self, *words, at=FOUNDERS):
        result = run(
            "client.py", ",".join(self.addresses[name] for name in at), *words, folder=self.programs
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def ask_until(self, answer, *words, at=FOUNDERS):
        end = time.monotonic() + SECONDS_MAX
        while (said := self.ask(*words, at=at)) != answer:
            assert time.monotonic() < end, said


def free_pairs_of_ports(count):
    """The first of two that follow each other: for members, and for clients.

    Below those that systems give to connections, one of which could take it meanwhile.
    """
    found = []
    while len(found) < count:
        with ExitStack() as stack, suppress(OSError):
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            port = random.randrange(10_000, 30_000)
            for place, end in enumerate(sockets):
                end.bind(("127.0.0.1", port + place))
            if not any(abs(port - other) < 2 for other in found):
                found.append(port)
    return found


@pytest.fixture
def servers(programs, tmp_path):
    with ExitStack() as stack:
        yield Servers(programs, tmp_path, stack)


def test_the_servers_of_the_guide_serve_fail_and_grow(servers):
    for name in FOUNDERS:
        servers.start(name)
    assert servers.ask("set", "colour", "red") == "ok None"
    assert servers.ask("get", "colour", at=["n3"]) == "ok red"
    assert servers.ask("set", "nothing").startswith("refused: set, get")
    assert servers.ask("promote", "n4").startswith("refused: 'n4' is not a member")

    assert servers.ask("set", "address/n4", servers.addresses["n4"]) == "ok None"
    servers.start("n4")
    servers.ask_until("ok None", "add", "n4")
    servers.ask_until("ok None", "promote", "n4")
    servers.ask_until("ok None", "transfer", "n4")
    assert servers.ask("get", "colour", at=["n4"]) == "ok red"

    servers.processes["n2"].kill()
    assert servers.ask("set", "colour", "blue") == "ok red"
    servers.start("n2")
    assert servers.ask("get", "colour", at=["n2"]) == "ok blue"


@pytest.mark.skipif(sys.platform != "linux", reason="takes another process's disk away")
def test_a_server_ends_when_its_node_stops(servers):
    import resource

    servers.start("n1", ["n1"])
    servers.ask_until("ok red", "set", "colour", "red", at=["n1"])
    process = servers.processes["n1"]
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
    with socket.create_connection(("127.0.0.1", servers.ports[0] + 1)) as client:
        client.sendall(b"set colour blue\n")
        assert process.wait(SECONDS_MAX) == 1
    assert "n1 has stopped: LogFailed" in process.stderr.read()


def test_closing_one_node_over_tcp_leaves_the_others_alone(programs, tmp_path):
    code = """
import asyncio, sys
from pathlib import Path
from raftcore import Config, Membership, Role
from machine import KeyValues
from node import Stopped
from tcp import TcpNode

async def main(folder, ports):
    book = {f"n{number}": ("127.0.0.1", port) for number, port in enumerate(ports, 1)}
    members = Membership(frozenset(book))
    nodes = {name: TcpNode(Config(name), folder / name, members, KeyValues(), book.get) for name in book}
    for name, node in nodes.items():
        await node.start(book[name])

    async def leader():
        while True:
            for node in nodes.values():
                if node.node.core.role is Role.LEADER:
                    return node
            await asyncio.sleep(0.05)

    async with asyncio.timeout(60):
        for value in ("red", "blue"):
            one = await leader()
            await asyncio.wrap_future(one.call(one.node.propose, f"colour={value}".encode()))
            await nodes.pop(one.node.name).close()
            await one.close()  # twice is no harm
            assert isinstance(await one.ended, Stopped)
            try:
                one.call(one.node.read, "colour")
            except Stopped:
                continue
            raise AssertionError
    for node in nodes.values():
        await node.close()
    print("both")

asyncio.run(main(Path(sys.argv[1]), map(int, sys.argv[2:])))
"""
    ports = map(str, free_pairs_of_ports(3))
    result = run("-c", code, str(tmp_path), *ports, folder=programs)
    assert result.returncode == 0, result.stderr
    assert (result.stdout, result.stderr) == ("both\n", "")


MISTAKES = """
import sys
from pathlib import Path
from raftcore import AddLearner, Config, Malformed, Membership, Refused, Snapshot, SnapshotMeta
from raftcore.codec import encode_message
from machine import KeyValues, Rejected
from node import Node

founders = Membership(frozenset({"n1"}))
node = Node(Config("n1", snapshots=True), Path(sys.argv[1]), founders, KeyValues(), lambda *_: True, 0)
node.timer(0)
message = encode_message(Snapshot(9, "n2", 1, SnapshotMeta(9, 9, 0, founders, 0, 100)))
for mistake in (
    lambda: node.propose("text", 1),
    lambda: node.propose(bytearray(b"a=b"), 1),
    lambda: node.change([AddLearner("")], 1),
    lambda: node.change([AddLearner("x" * 256)], 1),
    lambda: node.change(["n2"], 1),
    lambda: node.change([], 1),
    lambda: node.transfer("n2", 1),
    lambda: node.read(["no key"], 1).result(),
    lambda: node.propose(b"no command", 1).result(),
    lambda: node.propose(b"\\xff", 1).result(),
    lambda: node.receive(b"\\0", 1),
    lambda: node.receive(b"\\1" + len(message).to_bytes(4) + message + b"too short", 1),
):
    try:
        mistake()
    except (Malformed, Refused, Rejected, TypeError) as error:
        assert node.stopped is None
    else:
        raise AssertionError("this is no mistake")
assert node.propose(b"colour=red", 1).result() is None
node.stop()
node.stop()
"""


def test_the_driver_goes_on_after_what_others_did_wrong(programs, tmp_path):
    result = run("-c", MISTAKES, str(tmp_path), folder=programs)
    assert result.returncode == 0, result.stderr


def test_what_has_to_be_installed_is_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = next(name for name in project["dependencies"] if name.startswith("protobuf"))
    assert f'`pip install "{needed}"`' in GUIDE
    assert f"Python {project['requires-python'].removeprefix('>=')}" in GUIDE


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_every_setting_is_there_with_its_default(field):
    row = re.search(rf"^\| `{field.name}` \| (.+?) \| .+ \|$", section("Config"), re.MULTILINE)
    assert row, field.name
    default = "\N{EN DASH}" if field.default is MISSING else str(field.default)
    if isinstance(field.default, int) and field.default >= MIB:
        default = f"{field.default // MIB} MiB"
    assert row[1] == default


def test_no_setting_is_invented():
    named = re.findall(r"^\| `(\w+)` \|", section("Config"), re.MULTILINE)
    assert named == [field.name for field in fields(Config)]


def test_every_effect_is_there_with_its_fields():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", section("Effects"), re.MULTILINE)
    assert {name: re.findall(r"`(\w+)`", parts) for name, parts in rows} == {
        effect.__name__: [field.name for field in fields(effect)] for effect in get_args(Effect)
    }


def test_every_input_and_everything_to_look_at_is_there():
    described = re.findall(r"^\| (`.+?) \|", section("RaftCore"), re.MULTILINE)
    named = {name for cell in described for name in re.findall(r"`(\w+)", cell)}
    assert named == {name for name in vars(RaftCore) if not name.startswith("_")}


def named_in(title: str) -> set[str]:
    """What stands in code there, arguments and types apart."""
    return set(re.findall(r"`(\w+)", section(title)))


@pytest.mark.parametrize(
    "kind", [Membership, Entry, SnapshotMeta, HardState, Snapshot, Status, MemberStatus]
)
def test_every_field_is_there(kind):
    text = section("Types")
    assert f"`{kind.__name__}`" in text
    assert {field.name for field in fields(kind)} <= named_in("Types")


@pytest.mark.parametrize("kind", [Role, EntryKind])
def test_every_member_of_an_enumeration_is_there(kind: type[Enum]):
    assert set(kind.__members__) <= named_in("Types")


def test_every_way_to_a_membership_is_there():
    assert set(JointMode.__members__) <= named_in("RaftCore")


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Storage", WriteAheadLog),
        ("Storage", DiskSnapshots),
        ("Snapshots in pieces", SnapshotSender),
        ("Snapshots in pieces", SnapshotReceiver),
    ],
)
def test_every_method_is_there(title, kind):
    assert kind.__name__ in named_in(title)
    assert {name for name in vars(kind) if not name.startswith("_")} <= named_in(title)


def test_everything_that_comes_with_snapshots_in_pieces_is_there():
    parts = {field.name for kind in (Received, Wanted) for field in fields(kind)}
    assert parts | set(Verdict.__members__) <= named_in("Snapshots in pieces")


def test_every_reason_is_there():
    refusals = (ROOT / "raftcore/errors.py").read_text()
    reasons = set(re.findall(r'"([a-z ]+)"', " ".join(re.findall(r"Literal\[[^]]+\]", refusals))))
    changes = (ROOT / "docs/internals/membership.md").read_text()
    assert set(get_args(ChangeRefusal)) <= set(re.findall(r"`([a-z ]+)`", changes))
    assert reasons - set(get_args(ChangeRefusal)) <= set(re.findall(r'"([a-z ]+)"', REFERENCE))
    assert {"busy", "witness", "bad id"} <= reasons


@pytest.mark.parametrize("module", [raftcore, raftcore.storage, raftcore.snapshot_stream])
def test_every_name_in_code_is_exported(module):
    """What the guide's programs import is public."""
    pattern = rf"^from {re.escape(module.__name__)} import (\([^)]*\)|.*)$"
    imported = re.findall(pattern, GUIDE, re.MULTILINE)
    assert {name for names in imported for name in re.findall(r"\w+", names)} <= set(module.__all__)


def test_nothing_but_the_standard_library_and_protobuf_is_needed():
    modules = "raftcore, raftcore.codec, raftcore.snapshot_stream, raftcore.storage, raftcore.trace"
    code = f"import sys; before = set(sys.modules); import {modules}; print(*set(sys.modules) - before)"
    result = run("-c", code)
    assert "raftcore.storage.wal" in result.stdout.split(), result.stderr
    foreign = [
        name
        for name in result.stdout.split()
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "raftcore"}
        and not re.match(r"google(\.protobuf\b|\._upb\b|$)", name)
    ]
    assert foreign == []
