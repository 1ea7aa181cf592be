"""What the comparison of databases rests on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cluster.harness import dump


def test_every_table_is_dumped_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        for name in ('"a ""quoted"" one"', "[a b]", "é"):
            connection.execute(f"CREATE TABLE {name} (x)")
            connection.execute(f"INSERT INTO {name} VALUES ('row')")
        connection.commit()
    contents = dump(path)
    assert contents['a "quoted" one'] == contents["a b"] == contents["é"] == [("row",)]
