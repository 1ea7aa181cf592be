"""Checks of the replicated databases, and of the models in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import router

from raftdjango import conf
from raftdjango.checks.reading import database_file, error, warning
from raftdjango.models import TABLE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps import AppConfig


@register(Tags.models)
def check_databases(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """E021-E025, W021: the replicated databases and the models in them."""
    return [*_check_files(), *_check_models()]


def _check_files() -> Iterator[CheckMessage]:
    seen: dict[str, str] = {}
    for alias in conf.replicated_aliases():
        name = database_file(alias)
        where = f"DATABASES[{alias!r}]['NAME']"
        remedy = f'Name a file, such as BASE_DIR / "{alias}.sqlite3".'
        if not name:
            yield error("E021", f"{where} is missing: a replicated database is a file.", remedy)
        elif name == ":memory:" or name.startswith("file:"):
            yield error(
                "E022",
                f"{where} is {name!r}: a replicated database is a file that several processes open.",
                remedy,
            )
        elif (path := str(Path(name).absolute())) in seen:
            message = f"DATABASES[{seen[path]!r}] and DATABASES[{alias!r}] have one file: {path}."
            yield error("E023", message, "Give each replicated database a file of its own.")
        else:
            seen[path] = alias
            # No more than a warning: the file may well be on the other machines only.
            if missing := conf.missing_folder(alias, Path(path)):
                yield warning(
                    "W021", missing, "A raftnode and its workers need it, not the checks."
                )


def _check_models() -> Iterator[CheckMessage]:
    replicated = set(conf.replicated_aliases())
    if not replicated:
        return
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_label == "raftdjango" or model._meta.proxy:
            continue
        home = router.db_for_write(model)
        if home in replicated and model._meta.db_table.lower().startswith(TABLE_PREFIX):
            yield Error(
                f"{model._meta.label} has the table {model._meta.db_table!r}; names that begin "
                f"with {TABLE_PREFIX!r} are the product's own.",
                hint="Set another Meta.db_table.",
                obj=model,
                id="raftdjango.E025",
            )
        for field in model._meta.local_fields:
            target = field.related_model if field.remote_field else None
            if not isinstance(target, type) or not getattr(field, "db_constraint", False):
                continue
            other = router.db_for_write(target)
            if home != other and {home, other} & replicated:
                yield Error(
                    f"{model._meta.label}.{field.name} is a foreign key from the database "
                    f"{home!r} to {other!r}: {target._meta.label} is not there.",
                    hint="Keep both models in one database, or set db_constraint=False and "
                    "look the other row up by its key.",
                    obj=field,
                    id="raftdjango.E024",
                )
