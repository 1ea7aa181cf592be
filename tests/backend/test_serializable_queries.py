"""Queries and changes at random: what a serializable block read is what it would read at its place."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.backend.helpers import raw
from tests.backend.serial_support import made_after

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("however_slow")]
ROUNDS = 200


@pytest.fixture
def tables():
    raw(
        "CREATE TABLE one (id integer PRIMARY KEY, s text COLLATE NOCASE, n int, r real, x, u text UNIQUE)"
    )
    raw("CREATE TABLE two (id integer PRIMARY KEY, one_id int, n numeric, t text)")
    raw("CREATE INDEX one_sn ON one (s, n)")
    raw("CREATE INDEX one_n ON one (n)")
    yield
    raw("DROP TABLE one")
    raw("DROP TABLE two")


def fill(chance: random.Random) -> None:
    raw("DELETE FROM one")
    raw("DELETE FROM two")
    for key in range(1, 7):
        row = [
            key,
            chance.choice(["a", "A", "b", "", None]),
            chance.choice([1, 2, 3, None]),
            chance.choice([1.0, 2.5, None]),
            chance.choice([1, "1", 1.5, b"1", None]),
            f"u{key}",
        ]
        raw("INSERT INTO one VALUES (%s, %s, %s, %s, %s, %s)", row)
        raw(
            "INSERT INTO two VALUES (%s, %s, %s, %s)",
            [key, key, chance.choice([1, 2.5, 3]), chance.choice(["x", "y", None])],
        )


def condition(chance: random.Random) -> str:
    return chance.choice(
        [
            "1 = 1",
            f"n = {chance.randint(1, 3)}",
            "n IS NULL",
            f"id = {chance.randint(1, 8)}",
            f"id IN (1, {chance.randint(1, 8)})",
            "NOT (n = 2)",
            "s = 'a'",
            "s LIKE 'a%'",
            "x = 1",
            "x = '1'",
            "r > 1.5",
            "COALESCE(n, 0) = 0",
            "id IN (SELECT one_id FROM two WHERE n = 3)",
            "EXISTS (SELECT 1 FROM two WHERE one_id = one.id AND t = 'x')",
        ]
    )


def query(chance: random.Random) -> str:
    """Where it is ordered, then without ties: there is but one order to compare."""
    selected = chance.choice(["*", "id", "s, n", "s", "u", "n, id", "COALESCE(n, 7) AS k", "x, r"])
    order = chance.choice(["", "n, id", "s, id", "s DESC, n, id", "id", "u", "x, u", "2, 1, id"])
    if order == "2, 1, id" and selected not in {"*", "s, n", "n, id", "x, r"}:
        order = "1, id"
    limit = chance.choice(["", "", f" LIMIT {chance.choice([1, 2, 50])}"]) if order else ""
    where = condition(chance)
    plain = f"SELECT {selected} FROM one WHERE {where}" + (order and f" ORDER BY {order}") + limit
    others = [
        f"SELECT count(*) FROM one WHERE {where}",
        f"SELECT 1 FROM one WHERE {where} LIMIT 1",
        f"SELECT sum(n), max(r), min(s) FROM one WHERE {where}",
        "SELECT s, count(*) FROM one GROUP BY s ORDER BY s",
        "SELECT one.id, t FROM one JOIN two ON one_id = one.id WHERE two.n > 1 ORDER BY one.n, one.id",
        "SELECT one.s FROM one LEFT JOIN two ON one_id = one.id AND t = 'x' ORDER BY t, one.id",
        "SELECT id, row_number() OVER (ORDER BY n, id) FROM one",
        "SELECT id FROM one UNION SELECT one_id FROM two WHERE n = 3",
    ]
    return chance.choice([plain, plain, plain, chance.choice(others)])


def change(chance: random.Random) -> str:
    key = chance.randint(1, 8)
    return chance.choice(
        [
            f"UPDATE one SET n = {chance.choice([1, 2, 3, 'NULL'])} WHERE id = {key}",
            f"UPDATE one SET s = {chance.choice(['NULL', repr('a'), repr('A'), repr('b')])} WHERE id = {key}",
            f"UPDATE one SET r = {chance.choice([1, 2.5, 1.5])} WHERE id = {key}",
            f"UPDATE one SET x = {chance.choice([1, repr('1'), 1.5, 'NULL'])} WHERE id = {key}",
            f"UPDATE one SET u = 'v' || u WHERE id = {key}",
            f"DELETE FROM one WHERE id = {key}",
            f"INSERT OR IGNORE INTO one (id, s, n, u) VALUES ({key}, 'a', 2, 'n{key}')",
            f"UPDATE two SET t = {chance.choice([repr('x'), repr('y'), 'NULL'])} WHERE id = {key}",
            f"UPDATE two SET n = {chance.choice([1, 2.5, 3])} WHERE id = {key}",
            f"DELETE FROM two WHERE id = {key}",
        ]
    )


def result(text: str) -> list[Any]:
    rows = raw(text)
    return list(rows) if "ORDER BY" in text.rpartition(")")[2] else sorted(rows, key=repr)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("tables")
def test_what_was_read_would_be_read_again(seed):
    chance = random.Random(seed)
    verdicts = set()
    for number in range(ROUNDS):
        if number % 5 == 0:
            fill(chance)
        text, told = query(chance), []
        entry = made_after(lambda text=text, told=told: told.append(result(text)))
        changes = [change(chance) for _ in range(2)]
        for each in changes:
            raw(each)
        applied = entry.is_applied()
        verdicts.add((bool(entry.write_set.reads.queries), applied))
        assert not applied or told == [result(text)], (text, changes)
    assert verdicts == {
        (repeated, applied) for repeated in (True, False) for applied in (True, False)
    }
