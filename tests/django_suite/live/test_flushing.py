"""After which tests the run on the cluster flushes."""

from __future__ import annotations

import pytest
from django.test import TestCase

from tests.django_suite.live import worker


class Plain(TestCase):
    def runTest(self) -> None: ...


class NamesItsApplications(Plain):
    available_apps = ("django.contrib.contenttypes",)


class Database:
    """Stands for the replicas; counts comparisons, and whether flushes made content types anew."""

    def __init__(self) -> None:
        self.applied = 7
        self.comparisons = 0
        self.flushes: list[bool] = []

    def index(self) -> int:
        return self.applied

    def compare(self) -> int:
        self.comparisons += 1
        return 0

    def flush(self, case: TestCase, alias: str, *, restores: bool) -> None:
        self.applied += 1
        self.flushes.append(restores)


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    database = Database()
    monkeypatch.setattr(worker, "_replicas", {"default": database})
    monkeypatch.setattr(worker, "_flushed", {})
    monkeypatch.setattr(worker, "_compared", [0, 0])
    monkeypatch.setattr(worker, "_spent", [0.0, 0.0])
    monkeypatch.setattr(worker, "_flush_at_once", database.flush)
    return database


def test_what_a_test_wrote_is_compared_and_flushed(database: Database) -> None:
    worker._compare_and_flush(Plain())
    database.applied += 1
    worker._compare_and_flush(Plain())
    assert database.flushes == [True, True]
    assert database.comparisons == 2


@pytest.mark.parametrize("case", [Plain, NamesItsApplications])
def test_nothing_written_nothing_flushed(database: Database, case: type[TestCase]) -> None:
    worker._compare_and_flush(case())
    worker._compare_and_flush(case())
    assert len(database.flushes) == 1
    assert database.comparisons == 1


def test_content_types_come_back_after_a_test_that_wrote_nothing(database: Database) -> None:
    worker._compare_and_flush(NamesItsApplications())
    worker._compare_and_flush(Plain())
    assert database.flushes == [False, True]
    assert database.comparisons == 1


def test_content_types_go_after_a_test_that_wrote_nothing(database: Database) -> None:
    worker._compare_and_flush(Plain())
    worker._compare_and_flush(NamesItsApplications())
    assert database.flushes == [True, False]
