"""A whole `dumpdata` works, and what it gives can be loaded."""

from __future__ import annotations

import io
import json

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import TestCase


class TestDumpdata(TestCase):
    def test_a_whole_dump_leaves_the_products_own_tables_out(self) -> None:
        Group.objects.create(name="readers")
        output = io.StringIO()
        call_command("dumpdata", stdout=output)
        models = {row["model"] for row in json.loads(output.getvalue())}
        assert "auth.group" in models
        assert not [model for model in models if model.startswith("raftdjango.")]

    def test_the_application_by_name(self) -> None:
        """All its tables, and no complaint about the model that has none."""
        for names in (["raftdjango"], ["raftdjango.Cluster", "raftdjango.State"]):
            for manager in ([], ["--all"]):
                output = io.StringIO()
                call_command("dumpdata", *names, *manager, stdout=output)
                assert "raftdjango.state" in {row["model"] for row in json.loads(output.getvalue())}

    def test_what_is_asked_for_by_name(self) -> None:
        output = io.StringIO()
        call_command("dumpdata", "raftdjango.State", stdout=output)
        assert [row["model"] for row in json.loads(output.getvalue())] == ["raftdjango.state"]
