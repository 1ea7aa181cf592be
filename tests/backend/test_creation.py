"""Test databases: files in memory, cloned whole, applied to in this process alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import TransactionTestCase

from raftdjango.backends.sqlite3 import creation
from raftdjango.backends.sqlite3.base import DatabaseWrapper
from raftdjango.exceptions import ClusterUnavailable
from raftdjango.testing.consensus import Consensus, InProcessClient
from tests.backend.helpers import raw
from tests.backend.models import Account


def names(path: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute("SELECT name FROM backend_account").fetchall()


class TestTestDatabase(TransactionTestCase):
    def test_it_is_a_file_with_a_log_ahead(self) -> None:
        assert Path(connection.settings_dict["NAME"]).is_file()
        assert raw("PRAGMA journal_mode") == [("wal",)]
        assert isinstance(connection.replication.client, InProcessClient)

    def test_a_clone_has_what_is_only_in_the_log_ahead(self) -> None:
        Account.objects.create(name="ada")
        connection.creation._clone_test_db("7", verbosity=0)
        clone = connection.creation.get_test_db_clone_settings("7")["NAME"]
        assert clone != connection.settings_dict["NAME"]
        assert names(clone) == [("ada",)]
        connection.creation._clone_test_db("7", verbosity=0, keepdb=True)
        connection.creation._destroy_test_db(clone, verbosity=0)
        assert not Path(clone).exists()
        Account.objects.create(name="still there")

    def test_a_worker_of_a_parallel_run_writes_its_clone(self) -> None:
        connection.creation._clone_test_db("8", verbosity=0)
        worker = connection.copy()
        try:
            worker.creation.setup_worker_connection("8")
            with worker.cursor() as cursor:
                cursor.execute("INSERT INTO backend_account (name, balance) VALUES ('clone', 0)")
            assert names(worker.settings_dict["NAME"]) == [("clone",)]
            assert not Account.objects.exists()
        finally:
            worker.close()
            worker.creation._destroy_test_db(worker.settings_dict["NAME"], verbosity=0)
            connection.creation._switch_to_tests()

    def test_kept_databases_have_a_name_that_stays(self) -> None:
        settings = {**connection.settings_dict, "TEST": {"NAME": None}}
        one, other = (DatabaseWrapper(settings, "default") for _ in range(2))
        apart = one.creation._get_test_db_name()
        one.creation._keepdb = other.creation._keepdb = True
        assert one.creation._get_test_db_name() == other.creation._get_test_db_name() != apart

    def test_workers_of_pytest_xdist_have_files_of_their_own(self) -> None:
        names = set()
        for suffix in ("_gw0", "_gw1"):
            name = f"test_/srv/site/db.sqlite3{suffix}"  # as pytest-django makes it
            settings = {"NAME": Path("/srv/site/db.sqlite3"), "TEST": {"NAME": name}}
            wrapper = DatabaseWrapper({**connection.settings_dict, **settings}, "default")
            names.add(Path(wrapper.creation._get_test_db_name()))
        assert len(names) == 2
        assert all(name.parent.name.startswith(creation._PREFIX) for name in names)

    def test_a_name_in_the_settings_is_obeyed(self) -> None:
        settings = {**connection.settings_dict, "TEST": {"NAME": "/tmp/mine.db"}}
        assert DatabaseWrapper(settings, "default").creation._get_test_db_name() == "/tmp/mine.db"

    def test_folders_of_killed_runs_are_removed(self) -> None:
        folder = Path(connection.settings_dict["NAME"]).parent
        abandoned = folder.with_name(f"{creation._PREFIX}-999999999")
        abandoned.mkdir()
        creation._remove_abandoned(folder.parent)
        assert not abandoned.exists()
        assert folder.exists()

    def test_no_other_file_is_ever_written_without_its_cluster(self) -> None:
        path = Path(connection.settings_dict["NAME"]).with_name("production.db")
        with pytest.raises(ClusterUnavailable, match=r"production\.db"):
            Consensus.of(str(path))
        assert not path.exists()


class TestFreshFile(TransactionTestCase):
    """Before any node has set the file up."""

    def wrapper(self, name: str) -> DatabaseWrapper:
        path = Path(connection.settings_dict["NAME"]).parent / name
        self.addCleanup(path.unlink, missing_ok=True)
        wrapper = DatabaseWrapper({**connection.settings_dict, "NAME": str(path)}, "default")
        self.addCleanup(wrapper.close)
        return wrapper

    def test_reads_and_checks_work(self) -> None:
        wrapper = self.wrapper("fresh-1.db")
        assert wrapper.introspection.table_names() == []
        wrapper.check_constraints()

    def test_a_write_names_the_command_to_start(self) -> None:
        wrapper = self.wrapper("fresh-2.db")
        for sql in ("CREATE TABLE t (id INTEGER PRIMARY KEY)", "DELETE FROM t"):
            with wrapper.cursor() as cursor, pytest.raises(ClusterUnavailable, match="raftnode"):
                cursor.execute(sql)

    def test_so_does_a_write_that_would_go_blind(self) -> None:
        wrapper = self.wrapper("fresh-4.db")
        wrapper.ensure_connection()
        with pytest.raises(ClusterUnavailable, match="raftnode"):
            wrapper.replication.schema_version()

    def test_opening_a_missing_file_leaves_nothing_that_a_node_would_refuse(self) -> None:
        from raftdjango.applier import Applier, foreign_tables, open_database

        wrapper = self.wrapper("fresh-3.db")
        wrapper.introspection.table_names()
        with closing(open_database(wrapper.settings_dict["NAME"])) as node:
            assert foreign_tables(node) == []
            Applier(node).prepare()
        assert "raftdjango_state" in wrapper.introspection.table_names()
        for ending in ("-wal", "-shm"):
            Path(wrapper.settings_dict["NAME"] + ending).unlink(missing_ok=True)

    def test_a_missing_folder_is_named(self) -> None:
        wrapper = self.wrapper("no-such-folder/a.db")
        with pytest.raises(
            OperationalError, match=r"DATABASES\['default'\].*no-such-folder. Make it"
        ):
            wrapper.connect()

    def test_so_is_one_by_migrate_in_one_line(self) -> None:
        with mock.patch.dict(connection.settings_dict, NAME="/no-such-folder/a.db"):
            for only_look in (False, True):
                with pytest.raises(CommandError, match=r"/no-such-folder\. Make it"):
                    call_command("migrate", plan=only_look, verbosity=0)

    def test_a_database_in_memory_cannot_be_replicated(self) -> None:
        from django.core.exceptions import ImproperlyConfigured

        wrapper = DatabaseWrapper({**connection.settings_dict, "NAME": ":memory:"}, "default")
        with pytest.raises(ImproperlyConfigured, match="must be a file"):
            wrapper.connect()
