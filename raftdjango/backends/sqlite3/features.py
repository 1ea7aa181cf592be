"""What differs from Django's SQLite features, and why."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import django
from django.db.backends.sqlite3 import features
from django.utils.functional import cached_property

_FEWER_ROWS_FIT = {
    "bulk_create.tests.BulkCreateTests.test_explicit_batch_size_respects_max_batch_size",
}
if django.VERSION < (6, 0):
    _FEWER_ROWS_FIT.add(
        "backends.sqlite.test_operations.SQLiteOperationsTests.test_bulk_batch_size"
    )

_WHITE_BOX: dict[str, set[str]] = {}
if django.VERSION >= (6, 0):
    _FEWER_ROWS_FIT.add(
        "backends.sqlite.test_operations.SQLiteOperationsTests."
        "test_bulk_batch_size_respects_variable_limit"
    )
    _FEWER_ROWS_FIT.add(
        "backends.base.test_operations.DatabaseOperationTests.test_bulk_batch_size_limited"
    )
    _WHITE_BOX = {
        "Test databases are files, never shared-cache memory": {
            "backends.sqlite.test_creation.TestDbSignatureTests."
            "test_setup_worker_connection_respects_test_database_name",
        },
        "No query is made to ask whether SQLite knows JSON": {
            "backends.sqlite.test_features.FeaturesTests.test_supports_json_field_operational_error",
        },
        "The file that warns is ours, which passes `serialize` on": {
            "backends.base.test_creation.TestDbCreationTests.test_serialize_deprecation",
        },
    }
if django.VERSION >= (6, 1):
    _WHITE_BOX[
        "The project that it starts in a process of its own does not have the application"
    ] = {
        "migrations.test_loader.LoaderTests.test_loading_order_does_not_create_circular_dependency",
    }


class DatabaseFeatures(features.DatabaseFeatures):
    """Django's, replicated."""

    # The rows are not locked: they are checked at commit.  FOR UPDATE does not appear in the SQL.
    has_select_for_update = True
    supports_select_for_update_with_limit = True
    # Nothing ever waits, and more is protected than no_key asks for.
    has_select_for_update_nowait = True
    has_select_for_no_key_update = True
    has_select_for_update_of = True
    # Not so skip_locked: nobody knows which rows others are working on.

    @cached_property
    def supports_json_field(self) -> bool:  # type: ignore[override]
        """Asked of the library instead of the file: system checks open no database for it."""
        with closing(sqlite3.connect(":memory:")) as connection:
            try:
                connection.execute("SELECT json('{}')")
            except sqlite3.OperationalError:
                return False
        return True

    @cached_property
    def django_test_skips(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Tests of Django's that mean something else here, by reason."""
        return {
            **super().django_test_skips,
            "select_for_update() makes nobody wait: its rows are checked at commit": {
                "get_or_create.tests.UpdateOrCreateTransactionTests.test_creation_in_transaction",
                "get_or_create.tests.UpdateOrCreateTransactionTests.test_updates_in_transaction",
                # Passes when the main thread happens to look before the one that should wait is done.
                "select_for_update.tests.SelectForUpdateTests.test_block",
                "select_for_update.tests.SelectForUpdateTests.test_nowait_raises_error_on_block",
                "select_for_update.tests.SelectForUpdateTests.test_raw_lock_not_available",
            },
            "FOR UPDATE is not in the SQL, since SQLite does not know it": {
                "select_for_update.tests.SelectForUpdateTests.test_for_update_after_from",
            },
            "Keys are chosen before an INSERT and are parameters of it, so that fewer rows fit": (
                _FEWER_ROWS_FIT
            ),
            "Rows of a table without a primary key have no name that is the same on every node": {
                "introspection.tests.IntrospectionTests.test_django_table_names",
                "migrations.test_operations.OperationTests.test_run_sql",
                "migrations.test_operations.OperationTests.test_run_sql_params",
                "migrations.test_operations.OperationTests.test_separate_database_and_state",
            },
            "JSON is asked of the library instead of the file: no cursor that could fail": {
                "backends.sqlite.test_features.FeaturesTests.test_supports_json_field_operational_error",
            },
            "It measures how long XML takes to read, no database, and fails on a busy machine": {
                "serializers.test_deserialization.TestDeserializer.test_crafted_xml_performance",
            },
            **_WHITE_BOX,
            "The backend's name is in the message": {
                "backends.sqlite.tests.Tests.test_check_database_version_supported",
            },
        }
