"""The backup of docs/deployment.md: its very command, beside those who write, for any legitimate schema."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from raftdjango.applier import open_database

PAGE = Path(__file__).parents[2] / "docs/deployment.md"
SCHEMAS = {
    "a generated column and a check": "CREATE TABLE p (id integer PRIMARY KEY, stock integer NOT NULL,"
    " gen integer GENERATED ALWAYS AS (stock * 2) STORED, CHECK (stock >= 0))",
    "Django's functions": "CREATE TABLE p (id integer PRIMARY KEY, stock integer NOT NULL,"
    " gen text GENERATED ALWAYS AS (MD5(stock || '')) STORED)",
}


def command(database: Path, copy: Path) -> list[str]:
    """As the page has it, with these two files."""
    (line,) = re.findall(r"^    (python -c .*backup.*)$", PAGE.read_text(), re.MULTILINE)
    _, *arguments = shlex.split(line)
    places = {"/srv/mysite/db.sqlite3": str(database), "/backup/mysite.sqlite3": str(copy)}
    for written, here in places.items():
        assert any(written in argument for argument in arguments)
        arguments = [argument.replace(written, here) for argument in arguments]
    return [sys.executable, *arguments]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_copy_has_what_was_committed(tmp_path: Path, schema: str) -> None:
    database, copy = tmp_path / "db.sqlite3", tmp_path / "copy.sqlite3"
    with closing(open_database(database)) as writer:
        writer.execute(SCHEMAS[schema])
        writer.execute("INSERT INTO p (stock) VALUES (1), (2)")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO p (stock) VALUES (3)")
        subprocess.run(command(database, copy), check=True)
        writer.execute("COMMIT")
        expected = writer.execute("SELECT * FROM p WHERE stock < 3").fetchall()
    with closing(open_database(copy, for_applier=False)) as found:
        assert found.execute("SELECT * FROM p").fetchall() == expected
        assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(sqlite3.connect(database)) as still:
        assert still.execute("SELECT count(*) FROM p").fetchone() == (3,)
