"""Where a compacted log begins: the file beside the segments."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from raftcore.storage import LogDamaged, LogVersionUnknown, log_base
from raftcore.storage.disk import Disk
from raftcore.storage.log_base import Base, read_base
from raftcore.types import HardState
from tests.fuzz.material import damaged, frugal, metas, numbers, seeded


@st.composite
def bases(draw: st.DrawFn) -> Base:
    meta = draw(metas())
    return Base(
        meta,
        draw(st.integers(1, meta.index + 1)),
        draw(st.integers(1, 1 << 40)),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.builds(HardState, numbers, st.one_of(st.none(), st.text(max_size=20)))),
    )


def read(content: bytes) -> Base | None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "base"
        path.write_bytes(content)
        return read_base(path, Disk())


@seeded
@given(bases())
def test_what_is_written_is_read(written):
    assert read(written.encode()) == written


@seeded
@given(st.one_of(st.binary(max_size=300), damaged(bases().map(Base.encode))))
def test_a_damaged_one_is_refused(content):
    try:
        frugal(read, content)
    except (LogDamaged, LogVersionUnknown):
        return
    # Then the damage was none.
    assert frugal(read, content).encode() == content


@seeded
@given(damaged(bases().map(lambda one: one.encode()[log_base._HEAD.size :])))
def test_one_that_no_program_of_ours_wrote_is_one_or_damaged(payload):
    version = log_base._VERSION
    head = log_base._HEAD.pack(log_base._MAGIC, version, log_base._crc(version, payload))
    try:
        found = frugal(read, head + payload)
    except LogDamaged:
        return
    assert 1 <= found.first_index <= found.snapshot.index + 1
    assert found.segment >= 1
