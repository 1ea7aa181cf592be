"""A project's own tests, started as its developers start them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from raftdjango.backends.sqlite3 import creation

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = {
    "manage.py": """
        import os, sys
        from django.core.management import execute_from_command_line
        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
        execute_from_command_line(sys.argv)
    """,
    "settings.py": """
        SECRET_KEY = "a secret"
        ALLOWED_HOSTS = ["*"]
        USE_TZ = True
        STATIC_URL = "static/"
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        INSTALLED_APPS = ["rest_framework", "raftdjango", "shop"]
        MIDDLEWARE = ["raftdjango.middleware.RetryMiddleware"]
        ROOT_URLCONF = "shop.views"
        ENGINE = "raftdjango.backends.sqlite3"
        DATABASES = {
            "default": {"ENGINE": ENGINE, "NAME": "site.sqlite3", "ATOMIC_REQUESTS": True},
            "ledger": {"ENGINE": ENGINE, "NAME": "ledger.sqlite3", "ATOMIC_REQUESTS": True},
        }
    """,
    "conftest.py": """
        pytest_plugins = ["raftdjango.testing.plugin"]
    """,
    "pytest.ini": """
        [pytest]
        DJANGO_SETTINGS_MODULE = settings
        python_files = tests.py
        filterwarnings = error
    """,
    "shop/__init__.py": "",
    "shop/migrations/__init__.py": "",
    "shop/models.py": """
        from django.db import models

        class Order(models.Model):
            name = models.CharField(max_length=40, unique=True)
    """,
    "shop/views.py": """
        from django.http import HttpResponse
        from django.urls import path
        from shop.models import Order

        def order(request, name):
            for alias in ("default", "ledger"):
                Order.objects.using(alias).get_or_create(name=name)
            return HttpResponse(name)

        urlpatterns = [path("order/<str:name>", order)]
    """,
    "shop/tests.py": """
        import threading
        from urllib.request import urlopen

        import pytest
        from django.db import connection, transaction
        from django.test import LiveServerTestCase, TestCase, TransactionTestCase

        from raftdjango.exceptions import TransactionConflict
        from raftdjango.testing.faults import conflict, inject
        from shop.models import Order

        BOTH = {"default", "ledger"}

        def names(alias):
            return sorted(Order.objects.using(alias).values_list("name", flat=True))

        class InOneTransaction(TestCase):
            databases = BOTH

            @classmethod
            def setUpTestData(cls):
                Order.objects.create(name="first")

            def test_rows_go_with_the_test(self):
                Order.objects.create(name="second")
                Order.objects.using("ledger").create(name="second")
                self.assertEqual(names("default"), ["first", "second"])

            def test_requests(self):
                self.assertEqual(self.client.get("/order/second").status_code, 200)
                self.assertEqual(names("ledger"), ["second"])

        class Committing(TransactionTestCase):
            databases = BOTH

            def test_a_conflict(self):
                Order.objects.create(name="contended")

                def other():
                    Order.objects.update(name="taken")
                    connection.close()

                thread = threading.Thread(target=other)
                with self.assertRaises(TransactionConflict), transaction.atomic():
                    order = Order.objects.get()
                    thread.start()
                    thread.join()
                    order.save()
                self.assertEqual(names("default"), ["taken"])

            def test_a_request_that_is_answered_anew(self):
                with inject(conflict):
                    self.assertEqual(self.client.get("/order/beaten").status_code, 200)
                self.assertEqual(names("ledger"), ["beaten"])

        class CommittingToo(Committing):
            reset_sequences = True

            def test_keys(self):
                self.assertEqual(Order.objects.create(name="first").pk, 1)

        class Live(LiveServerTestCase):
            databases = BOTH

            def test_requests_at_once(self):
                def visit(name):
                    urlopen(f"{self.live_server_url}/order/{name}").close()

                threads = [threading.Thread(target=visit, args=(name,)) for name in "abcd"]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(names("default"), [*"abcd"])
                self.assertEqual(names("ledger"), [*"abcd"])

        @pytest.mark.django_db(databases=BOTH)
        def test_with_fixtures(live_server, inject_fault):
            inject_fault(conflict)
            urlopen(f"{live_server.url}/order/lost").close()
            assert names("ledger") == ["lost"]
    """,
}
IN_CLASSES, ALL = 8, 9


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).strip() + "\n")
    run(tmp_path, "manage.py", "makemigrations", "shop")
    yield tmp_path
    kept = hashlib.blake2b(bytes(tmp_path), digest_size=6).hexdigest()
    for root in (creation.SHARED_MEMORY, tmp_path):
        shutil.rmtree(root / f"{creation._PREFIX}-kept-{kept}", ignore_errors=True)


def run(project: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "DJANGO"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def run_tests(project: Path, *options: str) -> None:
    said = run(project, "-W", "error", "manage.py", "test", *options)
    assert f"Ran {IN_CLASSES} tests" in said


def test_djangos_runner(project: Path) -> None:
    run_tests(project)
    run_tests(project, "--parallel", "2", "--keepdb")
    # What is kept has to follow the migrations, in each process.
    with (project / "shop/models.py").open("a") as models:
        models.write("    paid = models.BooleanField(default=False)\n")
    run(project, "manage.py", "makemigrations", "shop")
    run_tests(project, "--parallel", "2", "--keepdb")


def test_pytest(project: Path) -> None:
    for _ in range(2):
        said = run(project, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "--reuse-db")
        assert f"{ALL} passed" in said
