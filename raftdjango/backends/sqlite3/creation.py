"""Test databases: files in memory, applied to by the consensus inside the test's own process."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db.backends.sqlite3 import creation

from raftdjango.client import use_client

if TYPE_CHECKING:
    from raftdjango.backends.sqlite3.base import DatabaseWrapper

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_PREFIX = f"raftdjango-test-{os.getuid() if hasattr(os, 'getuid') else 0}"
_RUN = os.getpid()


class DatabaseCreation(creation.DatabaseCreation):
    """Django's, with files instead of shared-cache memory, which locks whole tables."""

    connection: DatabaseWrapper
    _keepdb = False

    # -- names ----------------------------------------------------------------------------------

    def _get_test_db_name(self) -> str:
        settings = self.connection.settings_dict
        name = str(settings["TEST"]["NAME"] or "")
        # pytest-xdist's way to keep workers apart, which makes no path of a path.
        derived = f"test_{settings['NAME']}"
        suffix = name.removeprefix(derived) if name.startswith(derived) else ""
        if name and not suffix and not self.is_in_memory_db(name):
            return name
        return str(self._test_folder() / f"{self.connection.alias}{suffix}.sqlite3")

    def _test_folder(self) -> Path:
        """In memory where possible; apart for each run, but found again with `--keepdb`."""
        root = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        if not self._keepdb:
            return root / f"{_PREFIX}-{_RUN}"
        return (
            root / f"{_PREFIX}-kept-{hashlib.blake2b(bytes(Path.cwd()), digest_size=6).hexdigest()}"
        )

    # -- making and destroying ------------------------------------------------------------------

    def create_test_db(self, *args: Any, **kwargs: Any) -> str:
        """Make the test database, and have its writes applied in this process."""
        # Django 6.1 warns of `serialize` and later versions lack it: passed on only if given.
        create = super().create_test_db
        given = inspect.signature(create).bind(*args, **kwargs).arguments
        self._keepdb = given.get("keepdb", False)
        name: str = create(*args, **kwargs)
        return name

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:  # noqa: FBT001, FBT002
        folder = Path(self._get_test_db_name()).parent
        if folder.name.startswith(_PREFIX):
            _remove_abandoned(folder.parent)
            folder.mkdir(exist_ok=True)
        name: str = super()._create_test_db(verbosity, autoclobber, keepdb)  # type: ignore[misc]
        if not keepdb:
            _remove(name)
        self._switch_to_tests()
        _prepare(name)
        return name

    def _switch_to_tests(self) -> None:
        # Tests stand above backends; only a test database reaches up to them.
        from raftdjango.testing.consensus import InProcessClient

        use_client(self.connection.alias, InProcessClient)
        self.connection.replication.forget_client()

    def set_as_test_mirror(self, primary_settings_dict: dict[str, Any]) -> None:
        """A mirror's writes are applied in this process too."""
        super().set_as_test_mirror(primary_settings_dict)
        self._switch_to_tests()
        _prepare(primary_settings_dict["NAME"])

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        if test_database_name:
            if _close(test_database_name, forget=True):
                use_client(self.connection.alias, None)
                self.connection.replication.forget_client()
            _remove(test_database_name)
            folder = Path(test_database_name).parent
            if folder.name.startswith(_PREFIX) and not any(folder.iterdir()):
                folder.rmdir()

    # -- parallel runs --------------------------------------------------------------------------

    def get_test_db_clone_settings(self, suffix: str) -> dict[str, Any]:
        """The clone is a file beside the original."""
        settings = self.connection.settings_dict
        root, extension = os.path.splitext(str(settings["NAME"]))  # noqa: PTH122 - keeps the folder
        return {**settings, "NAME": f"{root}_{suffix}{extension}"}

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:  # noqa: FBT001, FBT002
        source = str(self.connection.settings_dict["NAME"])
        # Also one that was kept: it would lack what has been migrated since, and it is a quick copy.
        target = self.get_test_db_clone_settings(suffix)["NAME"]
        if verbosity >= 1:
            shown = self._get_database_display_str(verbosity, target)  # type: ignore[attr-defined]
            self.log(f"Cloning test database for alias {shown}...")
        # Workers are forked: no connection of this process may be open in them.
        _close(source)
        _remove(target)
        try:
            # A copy of the file alone would lack what is still in its write-ahead log.
            with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
                one.backup(other)
        except sqlite3.Error as error:
            self.log(f"Got an error cloning the test database: {error}")
            sys.exit(2)

    def setup_worker_connection(self, _worker_id: int) -> None:
        """In a worker of a parallel run: use its own clone."""
        settings = self.get_test_db_clone_settings(str(_worker_id))
        # In place, so that other threads connect to the clone too.
        self.connection.settings_dict.update(settings)
        self.connection.close()
        self._switch_to_tests()
        _prepare(settings["NAME"])
        if os.environ.get("RUNNING_DJANGOS_TEST_SUITE") == "true":
            self.mark_expected_failures_and_skips()


def _prepare(name: Any) -> None:
    from raftdjango.testing.consensus import Consensus

    Consensus.allow(str(name))


def _close(name: Any, *, forget: bool = False) -> bool:
    from raftdjango.testing.consensus import Consensus

    return Consensus.close(str(name), forget=forget)


def _remove(name: Any) -> None:
    for ending in ("", "-wal", "-shm"):
        Path(f"{name}{ending}").unlink(missing_ok=True)


def _remove_abandoned(root: Path) -> None:
    """Folders of runs that were killed: memory is too dear to leave them."""
    for folder in root.glob(f"{_PREFIX}-*"):
        process = folder.name.removeprefix(f"{_PREFIX}-")
        if process.isdigit() and not _is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
