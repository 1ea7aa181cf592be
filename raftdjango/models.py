"""`ReplicatedModel`, and read-only models over the tables that the product keeps in each database.

Those tables are made, upgraded and written by the applier alone, as part of applying log entries,
so they are equal on every node at equal applied index.  The models are unmanaged: migrations
make no tables for them, and nothing here writes them.

They live in every replicated database; say which with `.using(alias)` where that is not `default`.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

TABLE_PREFIX = "raftdjango_"


class ReplicatedModel(models.Model):
    """Base of models kept in a replicated database beside a plain `default`.

    Needs `raftdjango.routers.ReplicatedRouter` in `DATABASE_ROUTERS`.  Where `default` itself is
    replicated, every model is, and this base is not needed.
    """

    replicated_alias: ClassVar[str] = ""
    """Which replicated alias keeps the rows; the first in `DATABASES` if not given."""

    class Meta:
        abstract = True


class ReadOnly(TypeError):
    """Somebody tried to write one of the product's own tables."""

    def __init__(self, model: type[models.Model]) -> None:
        super().__init__(
            f"{model.__name__} is read-only: the table {model._meta.db_table} is written by the "
            "applier alone. To change the cluster, use manage.py raftctl."
        )


class ReadOnlyQuerySet(models.QuerySet[Any]):
    """Refuses every method that writes."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ReadOnly(self.model)

    create = get_or_create = update_or_create = _refuse
    bulk_create = bulk_update = update = delete = _refuse
    acreate = aget_or_create = aupdate_or_create = _refuse
    abulk_create = abulk_update = aupdate = adelete = _refuse


class ProductModel(models.Model):
    """Base of the models below: reads only."""

    objects = ReadOnlyQuerySet.as_manager()

    class Meta:
        abstract = True
        managed = False
        default_permissions = ()

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse."""
        raise ReadOnly(type(self))

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse."""
        raise ReadOnly(type(self))


class State(ProductModel):
    """How far this database is: one row."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    format = models.PositiveIntegerField(_("format"))
    applied_index = models.PositiveBigIntegerField(_("applied index"))
    applied_term = models.PositiveBigIntegerField(_("applied term"))
    time_ms = models.PositiveBigIntegerField(_("cluster time"))
    schema_version = models.PositiveBigIntegerField(_("schema version"))
    cluster_id = models.BinaryField(_("cluster id"), null=True)
    group_name = models.TextField(_("group"), null=True)  # noqa: DJ001 - NULL until it forms

    class Meta(ProductModel.Meta):
        db_table = "raftdjango_state"
        verbose_name = _("applied state")
        verbose_name_plural = _("applied states")

    def __str__(self) -> str:
        return f"{self.group_name or 'not formed'} at {self.applied_index}"


class Outcome(ProductModel):
    """What became of a proposal, kept until nobody can ask again."""

    proposal_id = models.BinaryField(_("proposal id"), primary_key=True)
    expires_at_ms = models.PositiveBigIntegerField(_("expires at"))
    log_index = models.PositiveBigIntegerField(_("log index"))
    verdict = models.BinaryField(_("verdict"))

    class Meta(ProductModel.Meta):
        db_table = "raftdjango_outcome"
        verbose_name = _("outcome")
        verbose_name_plural = _("outcomes")

    def __str__(self) -> str:
        return bytes(self.proposal_id).hex()


class Member(ProductModel):
    """A node of the cluster, its address, and the data directory it is bound to."""

    node_id = models.TextField(_("node"), primary_key=True)
    url = models.TextField(_("address"))
    incarnation = models.BinaryField(_("incarnation"), null=True)

    class Meta(ProductModel.Meta):
        db_table = "raftdjango_member"
        verbose_name = _("member")
        verbose_name_plural = _("members")

    def __str__(self) -> str:
        return self.node_id


class Key(ProductModel):
    """The next auto-increment key of a table that no node has been given."""

    table_name = models.TextField(_("table"), primary_key=True)
    next_key = models.PositiveBigIntegerField(_("next key"))

    class Meta(ProductModel.Meta):
        db_table = "raftdjango_key"
        verbose_name = _("key allocator")
        verbose_name_plural = _("key allocators")

    def __str__(self) -> str:
        return self.table_name


class Lock(ProductModel):
    """A named lock held through the log, such as that of migrations."""

    name = models.TextField(_("name"), primary_key=True)
    holder = models.BinaryField(_("holder"))
    until_ms = models.PositiveBigIntegerField(_("held until"))

    class Meta(ProductModel.Meta):
        db_table = "raftdjango_lock"
        verbose_name = _("lock")
        verbose_name_plural = _("locks")

    def __str__(self) -> str:
        return self.name


class Change(ProductModel):
    """At which log index a table was changed last, since the schema was."""

    name = models.TextField(_("table"), primary_key=True)
    log_index = models.PositiveBigIntegerField(_("log index"))

    class Meta(ProductModel.Meta):
        db_table = "raftdjango_changes"
        verbose_name = _("last change")
        verbose_name_plural = _("last changes")

    def __str__(self) -> str:
        return self.name


class Cluster(models.Model):
    """No table: gives the admin's cluster page its place in the index and its permission."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions: ClassVar = [("view_cluster", "Can view the cluster page")]
        verbose_name = _("cluster")
        verbose_name_plural = _("cluster")

    def __str__(self) -> str:
        return "cluster"
