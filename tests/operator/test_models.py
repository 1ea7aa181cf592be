"""The read-only models, and the router that sends `ReplicatedModel` home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.test import TestCase
from django.test.utils import isolate_apps

from raftdjango.applier import Applier, open_database
from raftdjango.models import (
    Change,
    Key,
    Lock,
    Member,
    Outcome,
    ProductModel,
    ReadOnly,
    ReplicatedModel,
    State,
)
from raftdjango.routers import ReplicatedRouter

PRODUCT_MODELS: list[type[ProductModel]] = [State, Outcome, Member, Key, Lock, Change]
PLAIN = {"ENGINE": "django.db.backends.sqlite3", "NAME": "plain"}
REPLICATED = {"ENGINE": "raftdjango.backends.sqlite3", "NAME": "replicated"}

pytestmark = pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")


@pytest.mark.parametrize("model", PRODUCT_MODELS)
def test_product_models_are_read_only(model: type[ProductModel]) -> None:
    writes: list[Any] = [
        lambda: model().save(),
        lambda: model().delete(),
        lambda: model.objects.create(),
        lambda: model.objects.bulk_create([]),
        lambda: model.objects.all().update(),
        lambda: model.objects.all().delete(),
        lambda: model.objects.get_or_create(),
    ]
    for write in writes:
        with pytest.raises(ReadOnly, match=model._meta.db_table):
            write()


@pytest.mark.parametrize("model", PRODUCT_MODELS)
def test_product_models_have_no_table_of_ours_and_no_permissions(model: type[models.Model]) -> None:
    assert not model._meta.managed
    assert tuple(model._meta.default_permissions) == ()


def test_models_match_the_tables_that_the_applier_makes(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "db.sqlite3")
    Applier(connection).prepare()
    for model in PRODUCT_MODELS:
        rows = connection.execute(f"PRAGMA table_info({model._meta.db_table})").fetchall()
        made = {name: (bool(required or key), bool(key)) for _, name, _, required, _, key in rows}
        fields = model._meta.local_fields
        assert {f.column: (not f.null, f.primary_key) for f in fields} == made, model
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name for (name,) in tables} == {model._meta.db_table for model in PRODUCT_MODELS}
    connection.close()


class StateTests(TestCase):
    def test_state_is_one_row(self) -> None:
        state = State.objects.using("default").get()
        assert state.applied_index > 0


class TestRouter:
    router = ReplicatedRouter()

    @pytest.fixture
    def _two_databases(self, settings: Any) -> None:
        settings.DATABASES = {"default": PLAIN, "shared": REPLICATED, "second": REPLICATED}

    @pytest.fixture
    def shop(self) -> Any:
        with isolate_apps("tests.operator"):

            class Customer(models.Model):
                class Meta:
                    app_label = "operator"

            class Order(ReplicatedModel):
                tags = models.ManyToManyField("self")

                class Meta:
                    app_label = "operator"

            class Invoice(ReplicatedModel):
                replicated_alias = "second"

                class Meta:
                    app_label = "operator"

            yield Customer, Order, Invoice

    @pytest.mark.usefixtures("_two_databases")
    def test_models_go_home(self, shop: Any) -> None:
        customer, order, invoice = shop
        through = order.tags.through
        for route in (self.router.db_for_read, self.router.db_for_write):
            assert [route(m) for m in (customer, order, through, invoice)] == [
                None,
                "shared",
                "shared",
                "second",
            ]

    @pytest.mark.usefixtures("_two_databases")
    def test_relations_do_not_cross(self, shop: Any) -> None:
        customer, order, invoice = (model() for model in shop)
        assert self.router.allow_relation(customer, customer) is None
        assert self.router.allow_relation(order, order) is True
        assert self.router.allow_relation(order, customer) is False
        assert self.router.allow_relation(order, invoice) is False

    @pytest.mark.usefixtures("_two_databases")
    def test_tables_are_made_only_at_home(self, shop: Any, monkeypatch: Any) -> None:
        by_name = {model._meta.model_name: model for model in shop}
        monkeypatch.setattr(apps, "get_model", lambda label, name: by_name[name])
        allowed = {
            name: [
                self.router.allow_migrate(alias, "operator", name)
                for alias in ("default", "shared", "second")
            ]
            for name in by_name
        }
        assert allowed == {
            "customer": [None, False, False],
            "order": [False, True, False],
            "invoice": [False, False, True],
        }

    @pytest.mark.usefixtures("_two_databases")
    def test_no_opinion_about_data_migrations_and_lost_models(self) -> None:
        assert self.router.allow_migrate("shared", "operator") is None
        assert self.router.allow_migrate("shared", "operator", "gone") is None

    def test_no_opinion_where_default_is_replicated(self, settings: Any) -> None:
        settings.DATABASES = {"default": REPLICATED}
        assert self.router.allow_migrate("default", "auth", "user") is None
