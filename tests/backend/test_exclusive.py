"""Exclusive turns from the block's side: taken after defeats, used by its commit, given back otherwise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import F
from django.test import TestCase, TransactionTestCase

from raftdjango.backends.sqlite3.statements import execution as statements
from raftdjango.backends.sqlite3.transactions import commit
from raftdjango.backends.sqlite3.transactions.speculation import State
from raftdjango.exceptions import NotReplicable, TransactionConflict, TransactionTooLarge
from raftdjango.testing import consensus as consensus_module
from raftdjango.testing.consensus import Consensus, InProcessClient
from raftdjango.transaction import atomic_retry
from raftdjango.transaction import retry as retry_module
from raftdjango.transaction.exclusive import in_turn
from tests.backend.models import Account


def consensus() -> Consensus:
    return Consensus.of(str(connection.settings_dict["NAME"]))


class TestTurns(TransactionTestCase):
    """With an account, and no pauses."""

    def setUp(self) -> None:
        patch = pytest.MonkeyPatch()
        self.addCleanup(patch.undo)
        patch.setattr(retry_module.random, "uniform", lambda low, high: 0)
        # A turn that is not ended by what should end it hangs, and is seen to.
        patch.setattr(consensus_module, "TURN_S_MAX", 600.0)
        self.patch = patch
        self.taken: list[bytes] = []
        self.lengths: list[float] = []
        take_turn = InProcessClient.take_turn

        def noting(client: InProcessClient, proposal_id: bytes, **options: float) -> bool:
            self.taken.append(proposal_id)
            self.lengths.append(options["longest_s"])
            return take_turn(client, proposal_id, **options)

        patch.setattr(InProcessClient, "take_turn", noting)
        self.pk = Account.objects.create(name="ada", balance=0).pk
        self.addCleanup(lambda: self.assertIsNone(consensus().turn, "a turn was left open"))

    def balance(self) -> int:
        return Account.objects.get(pk=self.pk).balance

    def losing(self, times: int) -> Callable[[], int]:
        """A block that loses so many times."""
        runs = 0

        def block() -> int:
            nonlocal runs
            runs += 1
            Account.objects.filter(pk=self.pk).update(balance=F("balance") + 1)
            if runs <= times:
                raise TransactionConflict("another was first")
            return runs

        return block

    def test_turns_begin_after_so_many_defeats(self) -> None:
        for exclusive_after, losses, turns in ((2, 2, 1), (2, 1, 0), (0, 0, 1), (None, 3, 0)):
            self.taken.clear()
            atomic_retry(exclusive_after=exclusive_after)(self.losing(losses))()
            assert len(self.taken) == turns, exclusive_after
        assert self.balance() == 4

    def test_by_default_after_five(self) -> None:
        assert atomic_retry(self.losing(5))() == 6
        assert len(self.taken) == 1
        assert atomic_retry()(self.losing(7))() == 8
        assert len(self.taken) == 4, "one for each run"
        assert len(set(self.taken)) == 4

    def test_each_turn_is_twice_as_long_as_the_one_before(self) -> None:
        """So that a block gets done that needs longer, and others wait no longer than they can."""
        atomic_retry(exclusive_after=1)(self.losing(4))()
        assert self.lengths == [2.0, 4.0, 8.0, 8.0], "four fifths of COMMIT_TIMEOUT_S"

    def test_the_turns_block_has_the_lock_from_its_start(self) -> None:
        states: list[State] = []

        @atomic_retry(exclusive_after=0)
        def block() -> None:
            states.append(connection.replication.speculation.state)
            # The applier waits for it as long as all other nodes do.
            assert connection.replication.speculation.write_lock.turn_s == 2.0

        block()
        assert states == [State.WRITING]
        assert not connection.replication.speculation.write_lock.turn_s
        assert connection.replication.turn is None

    def test_a_turn_that_was_not_used_is_given_back(self) -> None:
        @atomic_retry(exclusive_after=0)
        def nothing() -> None:
            pass

        @atomic_retry(exclusive_after=0)
        def failing() -> None:
            raise ValueError

        nothing()
        assert consensus().turn is None
        with pytest.raises(ValueError):
            failing()
        assert consensus().turn is None
        assert len(self.taken) == 2

    def test_what_fails_before_it_is_sent_gives_its_turn_back(self) -> None:
        """Nobody else would: the raftnode never hears of that proposal."""

        @atomic_retry(exclusive_after=0)
        def block() -> None:
            Account.objects.filter(pk=self.pk).update(name="x" * 1000)

        def fail(*arguments: object, **options: object) -> None:
            raise NotReplicable("for any reason")

        client = connection.replication.client
        for target, name, value, error in (
            (client, "transaction_bytes_max", 500, TransactionTooLarge),
            (commit, "encode_command", fail, NotReplicable),
            (commit, "collect", fail, NotReplicable),
        ):
            with pytest.MonkeyPatch.context() as patch, pytest.raises(error):
                patch.setattr(target, name, value)
                block()
            assert consensus().turn is None, name
            assert connection.replication.turn is None
            assert not connection.replication.speculation.write_lock.turn_s
        assert len(self.taken) == 3

    def test_what_comes_after_the_commit_is_not_part_of_the_turn(self) -> None:
        seen: list[bool] = []

        def hook() -> None:
            seen.append(connection.replication.speculation.write_lock.turn_s)
            Account.objects.filter(pk=self.pk).update(balance=F("balance") + 1)

        @atomic_retry(exclusive_after=0)
        def block() -> None:
            transaction.on_commit(hook)
            Account.objects.filter(pk=self.pk).update(balance=F("balance") + 1)

        block()
        assert seen == [0.0]
        assert self.balance() == 2

    def test_a_turn_that_is_not_used_yet_is_enough(self) -> None:
        with in_turn(connection) as outer:
            atomic_retry(exclusive_after=0)(self.losing(0))()
            assert consensus().turn is None, "the first transaction has used it"
            atomic_retry(exclusive_after=0)(self.losing(0))()
        assert outer
        assert len(self.taken) == 2
        assert self.balance() == 2

    def test_without_a_turn_the_block_runs_all_the_same(self) -> None:
        self.patch.setattr(InProcessClient, "take_turn", lambda *args, **kwargs: False)
        assert atomic_retry(exclusive_after=0)(self.losing(0))() == 1
        assert self.balance() == 1

    def test_in_its_turn_a_block_is_not_overtaken(self) -> None:
        """Another thread changes the same row during each run; in the turn it has to wait."""
        proposing = threading.Event()
        in_turn = Consensus.in_turn

        @contextmanager
        def noting(here: Consensus, proposal_id: bytes) -> Iterator[None]:
            if threading.current_thread() is not threading.main_thread():
                proposing.set()
            with in_turn(here, proposal_id):
                yield

        self.patch.setattr(Consensus, "in_turn", noting)
        others: list[threading.Thread] = []

        def other() -> None:
            # Blind, so that it needs no local lock.
            Account.objects.filter(pk=self.pk).update(balance=100 * len(others))
            connections.close_all()

        @atomic_retry(attempts=2, exclusive_after=1)
        def block() -> None:
            account = Account.objects.get(pk=self.pk)
            proposing.clear()
            others.append(threading.Thread(target=other))
            others[-1].start()
            assert proposing.wait(60)
            others[-1].join(0.2 if self.taken else 60)
            assert others[-1].is_alive() == bool(self.taken)
            account.balance += 1
            account.save()

        block()
        for thread in others:
            thread.join(60)
        assert len(others) == 2
        assert self.balance() == 200, "the last one, behind the block"

    def test_a_statement_takes_a_turn_as_well(self) -> None:
        propose = commit.propose
        left = 7

        def losing(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left >= 0:
                raise TransactionConflict("another was first")
            return propose(*arguments)

        self.patch.setattr(commit, "propose", losing)
        self.patch.setattr(statements, "pause", lambda attempt: None)
        Account.objects.filter(name="ada").update(balance=F("balance") + 1)
        assert self.balance() == 1
        assert len(self.taken) == 8 - statements.EXCLUSIVE_AFTER

    def test_a_hook_that_loses_does_not_have_its_block_made_again(self) -> None:
        runs: list[int] = []

        def hook() -> None:
            raise TransactionConflict("the hook's own")

        @atomic_retry
        def block() -> None:
            runs.append(len(runs))
            Account.objects.filter(pk=self.pk).update(balance=F("balance") + 1)
            transaction.on_commit(hook)

        with pytest.raises(TransactionConflict, match="the hook's own"):
            block()
        assert runs == [0]
        assert self.balance() == 1


class TestNested(TestCase):
    def test_inside_a_test_case_nobody_else_can_be_there(self) -> None:
        account = Account.objects.create(name="ada", balance=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(InProcessClient, "take_turn", lambda *args, **kwargs: pytest.fail("took"))
            with self.captureOnCommitCallbacks() as callbacks:
                atomic_retry(exclusive_after=0)(
                    lambda: Account.objects.filter(pk=account.pk).update(balance=3)
                )()
        account.refresh_from_db()
        assert account.balance == 3
        assert callbacks == [], "atomic_retry adds none of its own"
