"""What is known of a database ends with its file, and a test case's own goes no further by waiting."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from raftdjango.backends.sqlite3.reads import freshness
from raftdjango.consistency import at_least, bounded, linearizable
from raftdjango.exceptions import ClusterUnavailable
from tests.backend.consistency_support import Clock, Node, balance, clock, node
from tests.backend.helpers import applied_index
from tests.backend.models import Account

__all__ = ["clock", "node"]

committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rebuilt(node: Node, clock: Clock) -> Node:
    """This process knew the database when it had come further: now it is made anew from the log."""
    proven = clock.now, applied_index() + 1
    freshness._proven[str(connection.settings_dict["NAME"])] = proven
    connection.close()
    return node


@committed
def test_a_bound_is_not_kept_by_a_file_that_was_lost(rebuilt: Node) -> None:
    with bounded(30):
        assert balance() == 7
    assert len(rebuilt.asked) == 1


@committed
def test_nor_in_blocks(rebuilt: Node) -> None:
    with bounded(30), transaction.atomic():
        assert balance() == 7
    assert len(rebuilt.asked) == 1


@committed
def test_nor_inside_of_one_that_has_begun(rebuilt: Node) -> None:
    with transaction.atomic():
        Account.objects.exists()
        with bounded(30):
            assert balance() == 7
    assert len(rebuilt.asked) == 1


@committed
def test_one_that_has_come_so_far_again_does(node: Node, clock: Clock) -> None:
    proven = clock.now, applied_index()
    freshness._proven[str(connection.settings_dict["NAME"])] = proven
    connection.close()
    with bounded(30):
        assert balance() == 0
        with transaction.atomic():
            assert balance() == 0
    assert node.asked == []


@committed
def test_a_connection_to_a_file_that_is_gone_says_so(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert balance() == 0
    with monkeypatch.context() as patch:
        patch.setattr(freshness, "_identity", lambda path: (0, 0))
        with linearizable(), pytest.raises(ClusterUnavailable, match="removed or replaced"):
            balance()
    connection.close_if_unusable_or_obsolete()
    assert connection.connection is None
    with linearizable():
        assert balance() == 7


@pytest.mark.django_db
def test_a_test_case_waits_for_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "sleep", lambda seconds: pytest.fail("waited"), raising=False)
    with at_least(10**9, "default"), pytest.raises(ClusterUnavailable, match="Nobody else writes"):
        balance()
    with transaction.atomic(), at_least(10**9, "default"), pytest.raises(ClusterUnavailable):
        balance()
