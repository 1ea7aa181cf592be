"""Blocks that were made on one view and come to their place in the log later, as from another node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction

from raftdjango.backends.sqlite3.reads import recorder
from raftdjango.exceptions import ClusterUnavailable
from raftdjango.testing.consensus import Consensus
from raftdjango.transaction import serializable
from raftdjango.writeset import VerdictKind, WriteSet, decode_command
from tests.backend.helpers import far_key
from tests.backend.models import Account, Tag

if TYPE_CHECKING:
    from collections.abc import Callable

    from raftdjango.writeset import Verdict


class _HeldBack(ClusterUnavailable):
    """What the block meets in place of its verdict."""


@dataclass(frozen=True)
class Entry:
    """A proposal that has not come to its place in the log."""

    command: bytes
    captured_at: int | None

    @property
    def write_set(self) -> WriteSet:
        body = decode_command(self.command).body
        assert isinstance(body, WriteSet)
        return body

    def apply(self) -> Verdict:
        """Now it has."""
        consensus = Consensus.of(str(connection.settings_dict["NAME"]))
        return consensus.propose(self.command, self.captured_at).verdict

    def is_applied(self) -> bool:
        return self.apply().kind is VerdictKind.APPLIED


def hold_back(block: Callable[[], Any]) -> Entry | None:
    """Run a block up to its proposal; None if it had nothing to propose."""
    held: list[Entry] = []
    client: Any = connection.replication.client

    def propose(proposal_id: bytes, command: bytes, **_: Any) -> Any:
        captured_at, client._captured_at = client._captured_at, None
        held.append(Entry(command, captured_at))
        raise _HeldBack("It waits for its place in the log.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "propose", propose, raising=False)
        try:
            block()
        except _HeldBack:
            return held[0]
    return None


@pytest.fixture
def however_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "REPEAT_S_MAX", float("inf"))


@pytest.fixture
def accounts() -> tuple[Account, Account]:
    """Two of them, with 1 and 2."""
    ada = Account.objects.create(name="ada", balance=1)
    return ada, Account.objects.create(name="bob", balance=2)


def made_after(read: Callable[[], Any]) -> Entry:
    """The entry of a serializable block that read, and wrote where nobody looks."""

    def block() -> None:
        with serializable():
            read()
            Tag.objects.create(slug=str(far_key()))

    entry = hold_back(block)
    assert entry is not None
    return entry


def ada() -> Any:
    return Account.objects.filter(name="ada")


def by_key(name: str) -> Any:
    return Account.objects.filter(pk=Account.objects.get(name=name).pk)


def in_vain(do: Callable[[], Any]) -> None:
    """In a savepoint that is undone."""
    with transaction.atomic():
        do()
        transaction.set_rollback(True)


def taken(name: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.create(name=name)


PHANTOM = {"name": "eve", "balance": 1}
KEYS = {name: far_key() for name in ("eve", "ada", "bob")}


def add() -> None:
    Account.objects.create(pk=KEYS["eve"], **PHANTOM)


def keyed(name: str) -> Any:
    """A queryset by a literal key: nothing is read to make it."""
    return Account.objects.filter(pk=KEYS[name])
