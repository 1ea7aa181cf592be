"""The format itself: entries stay in logs for years."""

from __future__ import annotations

import json
import math
from pathlib import Path

from raftdjango.writeset import (
    Barrier,
    BindIncarnation,
    BlindDelete,
    BlindInsert,
    BlindUpdate,
    Command,
    Delete,
    FormCluster,
    Insert,
    KeyLease,
    MigrationLock,
    Pins,
    Query,
    Reads,
    Statement,
    Table,
    Update,
    ValidatedRead,
    Verdict,
    VerdictKind,
    WriteSet,
    decode_command,
    decode_verdict,
    encode_command,
    encode_verdict,
)
from raftdjango.writeset.rows import row_digest

FIXTURE = Path(__file__).with_name("version_1.json")

PINS = Pins(b"seed", "2026-02-03 04:05:06.789")
T = Table("t", ("a", "b"), (0,))
PAIR = Table('pair "x"', ("b", "a", "v"), (1, 0))
SAMPLES: dict[str, Command | Verdict] = {
    "insert": Command(b"p" * 24, 5000, WriteSet(7, (Insert(T, (1, "ü")), Insert(T, (2, None))))),
    "values": Command(
        b"p", 0, WriteSet(0, (BlindInsert(PAIR, (0, 1, 2), (-(2**63), math.inf, b"\0")),))
    ),
    "captured": Command(
        b"p" * 24,
        2**40,
        WriteSet(
            7,
            (
                Update(T, (1,), row_digest((1, "a")), ((1, 2.5),)),
                Update(T, (1,), row_digest((1, "a")), ()),
                Delete(PAIR, ("k", 1), row_digest((1, "k", None))),
                ValidatedRead(T, (2,), b""),
                ValidatedRead(T, (3,), row_digest((3, "c"))),
            ),
            expected_digest=b"d" * 16,
        ),
    ),
    "statement": Command(
        b"p", 1, WriteSet(7, (Statement("UPDATE t SET a = ?", (2**63 - 1,), PINS),), True)
    ),
    "blind": Command(
        b"p",
        1,
        WriteSet(
            7,
            (
                BlindInsert(T, (1,), ("a",), (0, 1), ("generated",), 1),
                BlindInsert(T, (), ()),
                BlindUpdate(PAIR, (("a", 1), ("b", 2)), ((2, None), (0, 3)), 2),
                BlindDelete(T, ((1,), (2,)), 0),
            ),
        ),
    ),
    "serializable": Command(
        b"p",
        1,
        WriteSet(
            7,
            (Insert(T, (1, "a")),),
            reads=Reads(
                9,
                ("t", ""),
                (Query("SELECT a FROM t WHERE b = ?", ("x", 1), 1, 2, b"d" * 16, ("t",)),),
            ),
        ),
    ),
    "lease": Command(b"p", 1, KeyLease("t", 100)),
    "barrier": Command(b"p", 1, Barrier()),
    "form": Command(b"p", 1, FormCluster(b"id", "default", (("n1", "u1"), ("n2", "u2")))),
    "bind": Command(b"p", 1, BindIncarnation("n1", b"inc")),
    "lock": Command(b"p", 1, MigrationLock(b"me", 500, True)),
    "renewed": Command(b"p", 1, MigrationLock(b"me", 500, renew=True)),
    "fenced": Command(b"p", 1, WriteSet(7, (Insert(T, (1, "a")),), fence=b"me")),
    "applied": Verdict(VerdictKind.APPLIED),
    "verdict": Verdict(
        VerdictKind.CONFLICT, "t", (1, "k"), "changed", 3, ((1, "a"), (None, b"b")), 100, True
    ),
}


def _encode(sample: Command | Verdict) -> str:
    data = encode_command(sample) if isinstance(sample, Command) else encode_verdict(sample)
    return data.hex()


def test_the_format_is_that_of_version_1():
    """Logs and databases hold these bytes: a change of them needs a new version, not a new file."""
    stored = json.loads(FIXTURE.read_text())
    assert {name: _encode(sample) for name, sample in SAMPLES.items()} == stored
    for name, sample in SAMPLES.items():
        decode = decode_command if isinstance(sample, Command) else decode_verdict
        assert repr(decode(bytes.fromhex(stored[name]))) == repr(sample)


def test_the_digest_of_a_row_is_that_of_version_1():
    row = (1, -1, 1.0, "ü", b"\xff", None, 2**63 - 1)
    assert row_digest(row).hex() == json.loads(FIXTURE.with_name("digest_1.json").read_text())
