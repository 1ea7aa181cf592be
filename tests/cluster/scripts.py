"""What workers do on their node.  Arguments and results are JSON."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F

from raftdjango.transaction import atomic_retry
from tests.cluster.connecting import *  # noqa: F403
from tests.cluster.contention import *  # noqa: F403
from tests.cluster.keys import *  # noqa: F403
from tests.cluster.project.models import Account, Item, Note, Tag
from tests.cluster.reading import *  # noqa: F403


def migrate() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)


def command(name: str, *arguments: str) -> None:
    call_command(name, *arguments, verbosity=0)


def create_item(name: str, value: int = 0) -> int:
    return Item.objects.create(name=name, value=value).pk


def items(prefix: str = "") -> dict[str, int]:
    return dict(Item.objects.filter(name__startswith=prefix).values_list("name", "value"))


def count_items() -> int:
    return Item.objects.count()


def write_until(stop_file: str, prefix: str) -> dict[str, list[Any]]:
    """Create items one after another until a file appears; what was acknowledged, what failed."""
    acknowledged: list[str] = []
    failed: list[list[str]] = []
    n = 0
    while not Path(stop_file).exists():
        n += 1
        name = f"{prefix}-{n}"
        try:
            Item.objects.create(name=name)
        except Exception as error:
            failed.append([name, type(error).__name__, str(error)])
        else:
            acknowledged.append(name)
    return {"acknowledged": acknowledged, "failed": failed}


def count_up_until(stop_file: str, name: str) -> int:
    """Add one to a shared row, again and again; how often it was acknowledged."""
    done = 0
    while not Path(stop_file).exists():
        Item.objects.filter(name=name).update(value=F("value") + 1)
        done += 1
    return done


def transfer_until(stop_file: str, names: list[str], seed: int) -> int:
    """Move money between accounts in blocks; the sum never changes."""
    import random

    rng = random.Random(seed)

    @atomic_retry(attempts=50)
    def move(source: str, target: str) -> None:
        rows = {a.name: a for a in Account.objects.select_for_update().filter(name__in=names)}
        rows[source].balance -= 1
        rows[target].balance += 1
        rows[source].save()
        rows[target].save()

    done = 0
    while not Path(stop_file).exists():
        move(*rng.sample(names, 2))
        done += 1
    return done


def make_accounts(names: list[str], balance: int) -> None:
    Account.objects.bulk_create(Account(name=name, balance=balance) for name in names)


def balances() -> list[int]:
    return list(Account.objects.order_by("name").values_list("balance", flat=True))


def tour(prefix: str) -> None:
    """Every kind of write that the ORM has, once."""
    tags = Tag.objects.bulk_create([Tag(name=f"{prefix}-{n}") for n in range(5)])
    for tag in tags:
        tag.name += "!"
    Tag.objects.bulk_update(tags, ["name"])
    account = Account.objects.create(name=prefix, balance=10)
    account.tags.add(*tags)
    account.tags.remove(tags[0])
    account.tags.set(tags[2:])
    with transaction.atomic():
        Note.objects.create(account=account, text="outer")
        try:
            with transaction.atomic():
                Note.objects.create(account=account, text="rolled back")
                raise ValueError  # leaves the inner block only
        except ValueError:
            pass
        with transaction.atomic():
            Note.objects.create(account=account, text="inner")
    Account.objects.filter(pk=account.pk).update(balance=F("balance") + 5)
    account.refresh_from_db()
    account.balance *= 2
    account.save()
    doomed = Account.objects.create(name=f"{prefix}-doomed")
    Note.objects.create(account=doomed, text="goes with it")
    doomed.delete()
    upserts = [Tag(name=f"{prefix}-upsert"), Tag(name=f"{prefix}-4!")]
    Tag.objects.bulk_create(
        upserts, update_conflicts=True, unique_fields=["name"], update_fields=["name"]
    )
    Tag.objects.bulk_create([Tag(name=f"{prefix}-upsert")], ignore_conflicts=True)
    Item.objects.get_or_create(name=f"{prefix}-got", defaults={"value": 1})
    Item.objects.update_or_create(name=f"{prefix}-got", defaults={"value": 2})
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO project_item (name, value) VALUES (%s, 3)", [f"{prefix}-raw"])
        cursor.execute(
            "UPDATE project_item SET value = value + 1 WHERE name = %s", [f"{prefix}-raw"]
        )
    user = User.objects.create_user(prefix, password="secret")
    user.is_staff = True
    user.save()


def toured(prefix: str) -> dict[str, Any]:
    """What `tour` leaves, as this node sees it."""
    account = Account.objects.get(name=prefix)
    return {
        "balance": account.balance,
        "tags": sorted(account.tags.values_list("name", flat=True)),
        "notes": list(account.note_set.order_by("pk").values_list("text", flat=True)),
        "doomed": Account.objects.filter(name=f"{prefix}-doomed").count(),
        "all_tags": sorted(
            Tag.objects.filter(name__startswith=prefix).values_list("name", flat=True)
        ),
        "items": dict(Item.objects.filter(name__startswith=prefix).values_list("name", "value")),
        "staff": User.objects.get(username=prefix).is_staff,
    }


def four_tables(name: str) -> list[int]:
    """A block that needs keys of one table after the other; the keys."""
    with transaction.atomic():
        account = Account.objects.create(name=name)
        tag = Tag.objects.create(name=name)
        note = Note.objects.create(account=account, text=name)
        item = Item.objects.create(name=name)
        account.tags.add(tag)
    return [account.pk, tag.pk, note.pk, item.pk]


def many_after_one(name: str, rows: int) -> None:
    """A block that needs more keys than anybody has at hand, when it has written already."""
    with transaction.atomic():
        account = Account.objects.create(name=name)
        Note.objects.bulk_create(Note(account=account, text=str(n)) for n in range(rows))


def get_or_create(name: str) -> list[Any]:
    item, created = Item.objects.get_or_create(name=name)
    return [item.pk, created]


def new_session(value: int) -> str:
    session = SessionStore()
    session["value"] = value
    session.save()
    assert session.session_key is not None
    return session.session_key


def save_session(key: str, name: str, times: int) -> None:
    for n in range(times):
        session = SessionStore(session_key=key)
        session[name] = n
        session.save()


def session_value(key: str, name: str) -> Any:
    return SessionStore(session_key=key).get(name)


def hold_block(started_file: str, seconds: float, name: str) -> None:
    """Write inside a block, then dawdle in it."""
    with transaction.atomic():
        Item.objects.create(name=name)
        Path(started_file).touch()
        time.sleep(seconds)
        Item.objects.filter(name=name).update(value=1)


def swallow_everything(started_file: str, go_file: str) -> list[str]:
    """A block that is lost midway, in code that catches all errors."""
    errors = []
    with transaction.atomic():
        for step in ("first", "second", "third"):
            try:
                Item.objects.filter(name="contended").update(value=F("value") + 1)
                Item.objects.create(name=f"swallowed-{step}")
            except Exception as error:
                errors.append(type(error).__name__)
            Path(started_file).touch()
            while not Path(go_file).exists():
                time.sleep(0.01)
    return errors


@atomic_retry
def bulk(prefix: str, rows: int, size: int) -> None:
    Item.objects.bulk_create(
        Item(name=f"{prefix}-{n}".ljust(size, "."), value=n) for n in range(rows)
    )


@atomic_retry
def large_block(name: str, notes: int, size: int) -> None:
    """One entry of a little more than `notes * size` bytes."""
    account = Account.objects.create(name=name)
    Note.objects.bulk_create(Note(account=account, text="x" * size) for _ in range(notes))


def hooks() -> list[str]:
    """`on_commit` hooks run once, after the commit; those of a rolled back block never."""
    ran: list[str] = []
    with transaction.atomic():
        Item.objects.create(name=f"hook-{threading.get_ident()}-{time.monotonic_ns()}")
        transaction.on_commit(lambda: ran.append("committed"))
    try:
        with transaction.atomic():
            transaction.on_commit(lambda: ran.append("rolled back"))
            raise ValueError
    except ValueError:
        pass
    return ran
