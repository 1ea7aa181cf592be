"""`manage.py dbshell`: a look at this machine's file, beside its raftnode, and never a write to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from tests.node.nodes import PATIENCE_S, Cluster, command, insert, make_table

ROOT = Path(__file__).resolve().parents[2]
SQLITE3 = shutil.which("sqlite3")

needs_program = pytest.mark.skipif(not SQLITE3, reason="no sqlite3 program")


class OneNode(Cluster):
    """A node whose files are where the demo's settings look for them."""

    def database(self, name: str) -> Path:
        path = self.folder / name / "db.sqlite3"
        path.parent.mkdir(exist_ok=True)
        return path


@pytest.fixture
def node() -> Iterator[OneNode]:
    with OneNode(1) as cluster:
        cluster.start()
        client = cluster.client("n1")
        version = make_table(client)
        client.propose(*command(insert(version, 1, "kept"), client=client), timeout_s=PATIENCE_S)
        yield cluster


def dbshell(folder: Path, *parameters: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "dbshell", "--", *parameters],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "demo_site.settings",
            "RAFTDJANGO_NODE_ID": "n1",
            "DEMO_FOLDER": str(folder),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@needs_program
def test_it_reads_beside_a_running_node(node: OneNode) -> None:
    done = dbshell(node.folder, "-header", "SELECT id, text FROM note")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["id|text", "1|kept"]
    assert done.stderr.splitlines() == [
        "This shell is read-only and shows this machine's database: writes go through Django "
        "(manage.py shell)."
    ]


@needs_program
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE note SET text = 'lost'",
        "DROP TABLE note",
        "PRAGMA journal_mode = DELETE",
        "ATTACH '{file}' AS again; UPDATE again.note SET text = 'lost'",
    ],
)
def test_it_cannot_write(node: OneNode, sql: str) -> None:
    done = dbshell(node.folder, sql.format(file=node.database("n1")))
    assert done.returncode != 0
    assert "readonly" in done.stderr
    assert node.rows("n1") == [(1, "kept")]
    assert dbshell(node.folder, "PRAGMA journal_mode").stdout.strip() == "wal"


@needs_program
def test_it_reads_what_a_stopped_node_left(node: OneNode) -> None:
    node.crash("n1")
    assert dbshell(node.folder, "SELECT text FROM note").stdout.strip() == "kept"
    node.start("n1")
    assert node.client("n1").refresh(timeout_s=PATIENCE_S)


def test_parameters_are_passed_on() -> None:
    client = connections["default"].client
    args, _ = client.settings_to_cmd_args_env({"NAME": "file.db"}, ["-header", "SELECT 1"])
    assert args == ["sqlite3", "-readonly", "file.db", "-header", "SELECT 1"]


def test_without_the_program_django_says_so(tmp_path: Path) -> None:
    done = dbshell(tmp_path, PATH=str(tmp_path))
    assert done.returncode == 1
    assert "'sqlite3' program" in done.stderr
    assert "read-only" not in done.stderr
