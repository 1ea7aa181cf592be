"""Foreign keys that are deferred, or not minded at all, in and outside of blocks."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import TransactionTestCase

from tests.backend.helpers import elsewhere, entries, only, raw
from tests.backend.models import Account, Booking


class TestDeferred(TransactionTestCase):
    """`PRAGMA defer_foreign_keys` is the transaction's: one that begins again has it as well."""

    def setUp(self) -> None:
        raw("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        raw("CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent (id))")
        self.addCleanup(lambda: [raw(f"DROP TABLE {name}") for name in ("child", "parent")])

    def write(self) -> None:
        raw("INSERT INTO child VALUES (1, 1)")
        raw("INSERT INTO parent VALUES (1)")

    def test_somebody_else_has_written_meanwhile(self) -> None:
        Account.objects.create(name="ada")  # so that the connection has a journal
        with transaction.atomic():
            raw("PRAGMA defer_foreign_keys = ON")
            assert raw("SELECT count(*) FROM parent") == [(0,)]
            elsewhere(lambda: Account.objects.create(name="bob"))
            self.write()
        assert elsewhere(lambda: raw("SELECT * FROM child")) == [(1, 1)]

    def test_first_write_of_a_connection(self) -> None:
        connection.close()
        with transaction.atomic():
            raw("PRAGMA defer_foreign_keys = ON")
            self.write()
        assert elsewhere(lambda: raw("SELECT * FROM child")) == [(1, 1)]

    def test_it_is_not_the_next_transactions(self) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            self.write()

    def test_a_view_that_is_renewed(self) -> None:
        with transaction.atomic():
            raw("PRAGMA defer_foreign_keys = ON")
            raw("DELETE FROM parent WHERE id = 9")
            connection.replication.renew_view()
            self.write()
        assert elsewhere(lambda: raw("SELECT * FROM child")) == [(1, 1)]


class TestOff(TransactionTestCase):
    def tearDown(self) -> None:
        with connection.constraint_checks_disabled():
            raw("DELETE FROM backend_booking")

    def test_outside_of_blocks(self) -> None:
        for _ in range(2):  # the second time the pragmas come from the driver's cache
            with pytest.raises(IntegrityError):
                Booking.objects.create(account_id=-1)
            with connection.constraint_checks_disabled():
                Booking.objects.create(account_id=-1)
                Booking.objects.bulk_create([Booking(account_id=-2)])
                Booking.objects.filter(account_id=-1).update(account_id=-3)
        assert elsewhere(Booking.objects.count) == 4

    def test_switched_off_before_the_connection_was_guarded(self) -> None:
        connection.close()
        options = connection.settings_dict["OPTIONS"]
        before = options.get("init_command", "")
        options["init_command"] = f"{before}; PRAGMA foreign_keys = OFF"
        try:
            Booking.objects.create(account_id=-1)
        finally:
            options["init_command"] = before
            connection.close()
        with pytest.raises(IntegrityError):
            Booking.objects.create(account_id=-1)

    def test_the_applier_does_not_act_on_keys_that_nobody_minds(self) -> None:
        """A block's only statement, which could travel blind."""
        ada = Account.objects.create(name="ada")
        Booking.objects.create(account=ada)
        with connection.constraint_checks_disabled(), entries() as found, transaction.atomic():
            raw("DELETE FROM backend_account WHERE id = %s", [ada.pk])
        assert type(only(found)[0]).__name__ == "Delete"
        with connection.constraint_checks_disabled(), entries() as found, transaction.atomic():
            Account(name="bob").save(force_insert=True)
        assert not any(type(each).__name__.startswith("Blind") for each in only(found))
        assert elsewhere(Booking.objects.count) == 1
