"""Mistakes in letting go of the log on disk, and in putting a snapshot in its place."""

from __future__ import annotations

from tests.mutants.mutant import tested

_CONFORMANCE = ("storage/test_compaction.py", "storage/test_conformance.py")
_CRASHES = "storage/test_power_cut.py"

TESTED = (
    tested(
        4,
        "term and vote go with the segments that held them",
        "storage/wal.py",
        "base = Base(meta, first_index, segment, header.chain, self._hard_state)\n",
        "base = Base(meta, first_index, segment, header.chain, HardState())\n",
        *_CONFORMANCE,
    ),
    tested(
        36,
        "the name of the log's new beginning is not durable when the old one is removed",
        "storage/wal.py",
        "                self._disk.rename(unfinished, self._folder.base)\n"
        "                self._disk.sync_folder(self._folder.path)\n",
        "                self._disk.rename(unfinished, self._folder.base)\n",
        _CRASHES,
    ),
    tested(
        34,
        "a record may hold a sector of zeros, which is what a torn one is known by",
        "storage/segment.py",
        "    if seal.veils and _ZERO_SECTOR in frame:\n",
        "    if not seal.veils:\n",
        "storage/test_damage.py",
    ),
    tested(
        36,
        "of several folders that are made only the last one's name is durable",
        "storage/disk.py",
        "        self.make_folder(folder.parent)\n        folder.mkdir(exist_ok=True)\n",
        "        folder.mkdir(parents=True)\n",
        "storage/test_reopened.py",
    ),
    tested(
        36,
        "the name of a segment that a start finds is taken for durable",
        "storage/recovery.py",
        "    disk.sync_folder(folder.path)\n    if base is not None:\n",
        "    if base is not None:\n        disk.sync_folder(folder.path)\n",
        _CRASHES,
    ),
    tested(
        36,
        "a segment made ahead is used though its name could not be synced",
        "storage/segment_folder.py",
        "            self._not_prepared = True\n",
        "            return\n",
        _CRASHES,
    ),
    tested(
        32,
        "the name of a segment made ahead is synced again",
        "storage/segment_folder.py",
        "        if self._not_prepared or not path.exists():\n",
        "        if self._not_prepared and path.exists():\n"
        "            self._disk.sync_folder(self.path)\n"
        "            self._not_prepared = False\n"
        "        if not path.exists():\n",
        _CRASHES,
    ),
    tested(
        36,
        "the name of a snapshot in the log's place is not durable",
        "storage/wal.py",
        "            self._disk.rename(unfinished, self._folder.base)\n"
        "            self._disk.sync_folder(self._folder.path)\n"
        "            with self._lock:\n"
        "                self._index = LogIndex(",
        "            self._disk.rename(unfinished, self._folder.base)\n"
        "            with self._lock:\n"
        "                self._index = LogIndex(",
        _CRASHES,
    ),
    tested(
        47,
        "the log's new beginning is written over the old one",
        "storage/wal.py",
        "                self._disk.put(unfinished, base.encode())\n            except",
        "                self._disk.put(self._folder.base, base.encode())\n"
        "                self._disk.put(unfinished, base.encode())\n            except",
        _CRASHES,
    ),
    tested(
        22,
        "a segment is let go whose last entries are still needed",
        "storage/wal.py",
        "                if segment is None:\n",
        "                if segment is not None:\n",
        *_CONFORMANCE,
    ),
    tested(
        22,
        "segments are removed before that is durable",
        "storage/wal.py",
        "                self._disk.put(unfinished, base.encode())\n            except",
        "                self._remove_before(segment)\n"
        "                self._disk.put(unfinished, base.encode())\n            except",
        _CRASHES,
    ),
    tested(
        41,
        "a compacted log tells of memberships that are gone",
        "storage/log_index.py",
        "        del self._memberships[: bisect_left(self._memberships, first_index)]\n",
        "",
        *_CONFORMANCE,
    ),
    tested(
        39,
        "a log is compacted with a snapshot of another one",
        "storage/entry_runs.py",
        "    if meta.index >= log.first_index and log.term(meta.index) != meta.term:\n",
        "    if meta.index < 0:\n",
        *_CONFORMANCE,
    ),
    tested(
        46,
        "the log in memory lets go of what was to be kept",
        "storage/memory.py",
        "            del self._entries[: through + 1 - self._first_index]\n"
        "            self._first_index = through + 1\n",
        "            del self._entries[: meta.index + 1 - self._first_index]\n"
        "            self._first_index = meta.index + 1\n",
        *_CONFORMANCE,
        "scenarios/test_scenarios.py",
    ),
)
