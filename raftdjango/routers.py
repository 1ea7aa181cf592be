"""`ReplicatedRouter`: some models in a replicated database, all others where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS

from raftdjango.conf import replicated_aliases
from raftdjango.models import ProductModel, ReplicatedModel

if TYPE_CHECKING:
    from django.db.models import Model


def replicated_alias_of(model: type[Model]) -> str | None:
    """The alias that keeps a `ReplicatedModel`; None for any other model.

    The hidden table of a many-to-many field goes with the model that declares the field.
    """
    owner = model._meta.auto_created or model
    if not isinstance(owner, type) or not issubclass(owner, ReplicatedModel | ProductModel):
        return None
    aliases = replicated_aliases()
    chosen = str(getattr(owner, "replicated_alias", "")) or (aliases[0] if aliases else "")
    return chosen or None


class ReplicatedRouter:
    """Sends each `ReplicatedModel` to its replicated alias and keeps every other model out of it.

    Where `default` itself is replicated it has no opinion about other models.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Where its rows are."""
        return replicated_alias_of(model)

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        """Where its rows are."""
        return replicated_alias_of(model)

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        """No foreign key may cross from one database into another."""
        first, second = replicated_alias_of(type(obj1)), replicated_alias_of(type(obj2))
        if first is None and second is None:
            return None
        return (first or DEFAULT_DB_ALIAS) == (second or DEFAULT_DB_ALIAS)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """Each table is made only where its rows go."""
        if model_name is None:
            return None
        try:
            # The model in `hints` is the migration's own and has lost its abstract bases.
            alias = replicated_alias_of(apps.get_model(app_label, model_name))
        except LookupError:
            return None
        if alias is not None:
            return db == alias
        if db != DEFAULT_DB_ALIAS and db in replicated_aliases():
            return False
        return None
