"""Every mistake is reported by its id, with a remedy, and all of them at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps

from raftdjango import checks, conf
from raftdjango.middleware import RetryMiddleware
from raftdjango.models import ReplicatedModel

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs/ref/checks.md"
SOURCES = sorted((ROOT / "raftdjango/checks").glob("*.py"))
LONG = "x" * 90
PEERS = {"n1": "http://10.0.0.1:7001", "n2": "http://10.0.0.2:7001", "n3": "http://10.0.0.3:7001"}

# The checks read the setting; no connection is made from it.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")


def replicated(**options: Any) -> dict[str, Any]:
    """One replicated entry of DATABASES."""
    return {"ENGINE": conf.ENGINE, "NAME": "/tmp/a.sqlite3", **options}


def found(
    raft: Any, databases: dict[str, Any] | None = None, *, deploy: bool = False
) -> dict[str, CheckMessage]:
    """Messages of all checks of the setting by their id, without the prefix."""
    databases = databases or {"default": replicated()}
    with override_settings(RAFTDJANGO=raft, DATABASES=databases):
        messages = [
            *checks.check_settings(),
            *checks.check_folders(),
            *checks.check_databases(),
            *checks.check_secret(),
            *(checks.check_deployment() if deploy else []),
        ]
    return {str(message.id).removeprefix("raftdjango."): message for message in messages}


@pytest.fixture(autouse=True)
def no_node_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(conf.NODE_ID_VARIABLE, raising=False)


class TestSettings:
    @pytest.mark.parametrize(
        ("raft", "identity", "names"),
        [
            (["n1"], "E001", "dictionary"),
            ({"NODE": "n1"}, "E002", "NODES"),
            ({"ELECTION_TIMEOUT": 5}, "E002", "ELECTION_TIMEOUT_MS"),
            ({"NODES": ["http://10.0.0.1:7001"]}, "E003", "NODES"),
            ({"HEARTBEAT_MS": "150"}, "E003", "HEARTBEAT_MS"),
            ({"HEARTBEAT_MS": True}, "E003", "HEARTBEAT_MS"),
            ({"COMMIT_TIMEOUT_S": 0}, "E003", "COMMIT_TIMEOUT_S"),
            ({"COMMIT_TIMEOUT_S": -1}, "E003", "COMMIT_TIMEOUT_S"),
            ({"TRANSACTION_BYTES_MAX": 10}, "E003", "TRANSACTION_BYTES_MAX"),
            ({"SECRET_FALLBACKS": "old"}, "E003", "SECRET_FALLBACKS"),
            ({"DATA_DIR": 7}, "E003", "DATA_DIR"),
            ({"DATA_DIR": ""}, "E003", "DATA_DIR"),
            ({"DEFAULT_CONSISTENCY": "strong"}, "E003", "DEFAULT_CONSISTENCY"),
            ({"NODE_ID": "a/b"}, "E003", "NODE_ID"),
            ({"NODE_ID": "n9", "NODES": {"n1": "http://127.0.0.1:7001"}}, "E004", "n9"),
            ({"NODES": {"n1": "10.0.0.1:7001"}}, "E005", "n1"),
            ({"NODES": {"n1": "http://10.0.0.1"}}, "E005", "no port"),
            ({"NODES": {"n1": "http://10.0.0.1:99999"}}, "E005", "n1"),
            ({"NODES": {"n1": "http://10.0.0.1:7001/raft"}}, "E005", "host and a port"),
            ({"NODES": {"n1": None}}, "E005", "n1"),
            ({"NODES": {"n1": "http://[::1]:1", "n 2": "http://[::1]:2"}}, "E005", "n 2"),
            ({"NODES": {"n1": "http://localhost:1", "n2": "http://LOCALHOST:1/"}}, "E006", "n2"),
            ({"LISTEN": "7001"}, "E007", "LISTEN"),
            ({"LISTEN": "0.0.0.0:port"}, "E007", "LISTEN"),
            ({"HEARTBEAT_MS": 500, "ELECTION_TIMEOUT_MS": 500}, "E008", "HEARTBEAT_MS"),
            ({"HEARTBEAT_MS": 200, "ELECTION_TIMEOUT_MS": 500}, "W001", "ELECTION_TIMEOUT_MS"),
            ({"COMMIT_TIMEOUT_S": 1}, "W002", "COMMIT_TIMEOUT_S"),
            ({"DATA_DIR": f"/{LONG}"}, "E012", "DATA_DIR"),
            ({"DATA_DIR": __file__}, "E014", "DATA_DIR"),
            ({"NODES": PEERS}, "E041", "SECRET"),
            ({"LISTEN": "0.0.0.0:7001"}, "E041", "LISTEN"),
            ({"SECRET": "x" * 15}, "W046", "SECRET"),
            ({"NODES": PEERS, "SECRET": "é"}, "W046", "less than 16 bytes"),
            ({"SECRET": "s" * 16, "SECRET_FALLBACKS": ["x"]}, "W046", "SECRET_FALLBACKS"),
        ],
    )
    def test_mistake_is_named_with_a_remedy(self, raft: Any, identity: str, names: str) -> None:
        messages = found(raft)
        assert list(messages) == [identity]
        assert names in f"{messages[identity].msg} {messages[identity].hint}"
        assert messages[identity].hint

    @pytest.mark.parametrize(
        "raft",
        [
            None,
            {},
            {"NODE_ID": "n2", "NODES": PEERS, "SECRET": "s" * 32, "DATA_DIR": "/var/lib/raft"},
            {"LISTEN": "[::1]:7001", "SECRET": "", "SECRET_FALLBACKS": ("s" * 16,)},
            {"NODES": {"n1": "http://localhost:7001", "n2": "http://127.0.0.2:7001"}},
            {"COMMIT_TIMEOUT_S": 4.5, "DATA_DIR": Path("relative")},
        ],
    )
    def test_good_settings_are_silent(self, raft: Any) -> None:
        assert found(raft) == {}

    def test_node_id_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(conf.NODE_ID_VARIABLE, "n7")
        raft = {"NODES": PEERS, "SECRET": "s" * 32}
        assert "n7" in found(raft)["E004"].msg

    def test_all_mistakes_are_reported_at_once(self) -> None:
        raft = {
            "NODE_ID": "n9",
            "NODES": {**PEERS, "n4": "ftp://10.0.0.4:7001"},
            "LISTEN": "7001",
            "HEARTBEAT": 5,
            "HEARTBEAT_MS": 2000,
            "LOCK_YIELD_MS": "soon",
            "SECRET_FALLBACKS": ["x"],
            "DATA_DIR": f"/{LONG}",
        }
        expected = {"E002", "E003", "E004", "E005", "E007", "E008", "E012", "E041", "W046"}
        assert set(found(raft)) == expected

    def test_secrets_are_never_shown(self) -> None:
        messages = found({"SECRET": ["hunter2"], "SECRET_FALLBACKS": {"hunter2"}})
        assert list(messages) == ["E003"]
        assert "hunter2" not in f"{messages['E003'].msg}{messages['E003'].hint}"

    def test_every_key_has_a_rule_and_every_rule_a_key(self) -> None:
        from raftdjango.checks.reading import VALUES

        assert set(VALUES) == set(conf.KEYS)

    def test_defaults_keep_their_own_rules(self) -> None:
        from raftdjango.checks.reading import VALUES

        defaults = {key: getattr(conf.Settings(), key.lower()) for key in VALUES}
        assert [key for key, (good, _) in VALUES.items() if not good(defaults[key])] == []

    def test_rest_framework_is_missing(self, settings: Any) -> None:
        settings.INSTALLED_APPS = [a for a in settings.INSTALLED_APPS if a != "rest_framework"]
        assert list(found({})) == ["E016"]


class TestDatabases:
    @pytest.mark.parametrize(
        ("databases", "identity", "names"),
        [
            ({"default": replicated(NAME="")}, "E021", "NAME"),
            ({"default": {"ENGINE": conf.ENGINE}}, "E021", "NAME"),
            ({"default": replicated(NAME=":memory:")}, "E022", ":memory:"),
            ({"default": replicated(NAME="file:x?mode=memory")}, "E022", "file:x"),
            ({"default": replicated(), "b": replicated()}, "E023", "'b'"),
            (
                {
                    "default": replicated(),
                    "b": replicated(NAME="b", OPTIONS={"raft": {"group": "default"}}),
                },
                "E013",
                "'b'",
            ),
            ({"default": replicated(NAME="/nowhere/at/all/a.db")}, "W021", "/nowhere/at/all."),
            ({"default": replicated(OPTIONS={"raft": {"group": "a/b"}})}, "E015", "a/b"),
            ({"default": replicated(OPTIONS={"raft": {"groups": "a"}})}, "E017", "groups"),
            ({"default": replicated(OPTIONS={"raft": "a"})}, "E017", "dictionary"),
            (
                {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "a"}},
                "W003",
                conf.ENGINE,
            ),
        ],
    )
    def test_mistake_is_named(self, databases: Any, identity: str, names: str) -> None:
        messages = found({}, databases)
        assert list(messages) == [identity]
        assert names in f"{messages[identity].msg} {messages[identity].hint}"

    @pytest.mark.parametrize("database", [{"ENGINE": conf.ENGINE}, replicated(NAME="")])
    def test_missing_name_is_told_where_there_were_no_checks(self, database: Any) -> None:
        with override_settings(RAFTDJANGO={}, DATABASES={"default": database}):
            for ask in (conf.get_settings, lambda: conf.database_path("default")):
                with pytest.raises(ImproperlyConfigured, match=r"DATABASES\['default'\]\['NAME'\]"):
                    ask()

    @isolate_apps("tests.operator")
    def test_foreign_key_that_crosses(self, settings: Any) -> None:
        class Local(models.Model):
            class Meta:
                app_label = "operator"

        class Order(ReplicatedModel):
            local = models.ForeignKey(Local, on_delete=models.CASCADE)
            loose = models.ForeignKey(
                Local, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
            )
            many = models.ManyToManyField(Local, related_name="+")

            class Meta:
                app_label = "operator"

        settings.DATABASE_ROUTERS = ["raftdjango.routers.ReplicatedRouter"]
        plain = {"ENGINE": "django.db.backends.sqlite3", "NAME": "plain"}
        with override_settings(DATABASES={"default": plain, "shared": replicated()}):
            messages = self.messages_about([Local, Order, Order.many.through])
        assert {m.id for m in messages} == {"raftdjango.E024"}
        assert {str(m.msg).split()[0] for m in messages} == {
            "operator.Order.local",
            "operator.Order_many.local",
        }

    @isolate_apps("tests.operator")
    def test_product_table_names_are_taken(self) -> None:
        class Mine(models.Model):
            class Meta:
                app_label = "operator"
                db_table = "raftdjango_mine"

        with override_settings(DATABASES={"default": replicated()}):
            assert [m.id for m in self.messages_about([Mine])] == ["raftdjango.E025"]

    @staticmethod
    def messages_about(shown: list[Any]) -> list[CheckMessage]:
        from unittest import mock

        with mock.patch("raftdjango.checks.databases.apps.get_models", return_value=shown):
            return checks.check_databases()


class TestDeployment:
    @pytest.mark.parametrize(
        ("raft", "expected"),
        [
            ({"NODES": PEERS, "SECRET": "s" * 32}, {"W041"}),
            (
                {
                    "NODES": {k: v.replace("http:", "https:") for k, v in PEERS.items()},
                    "SECRET": "s" * 32,
                },
                set(),
            ),
            ({"NODES": {"n1": "https://a:1", "n2": "https://b:1"}, "SECRET": "s" * 32}, {"W042"}),
            ({"NODES": {"n1": "https://a:1"}, "SECRET": "short"}, {"W045", "W046"}),
        ],
    )
    def test_warnings(self, raft: Any, expected: set[str]) -> None:
        assert set(found(raft, deploy=True)) == expected

    def test_debug(self, settings: Any) -> None:
        settings.DEBUG = True
        assert "W043" in found({}, deploy=True)

    def test_secret_is_not_the_secret_key(self, settings: Any) -> None:
        settings.SECRET_KEY = "k" * 40
        assert "W044" in found({"SECRET": "k" * 40}, deploy=True)


def test_every_id_is_documented_and_every_heading_is_an_id() -> None:
    used = set(re.findall(r'"raftdjango\.([EW]\d{3})"', "".join(p.read_text() for p in SOURCES)))
    used |= set(
        re.findall(
            r'\b(?:error|warning)\(\s*"([EW]\d{3})"', "".join(p.read_text() for p in SOURCES)
        )
    )
    headings = re.findall(r"^### raftdjango\.([EW]\d{3})$", DOCS.read_text(), re.MULTILINE)
    assert len(used) > 20
    assert sorted(headings, key=lambda i: headings.index(i)) == headings
    assert set(headings) == used
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize("arguments", [["check"], ["check", "--database", "default"]])
def test_check_reports_bad_settings_without_a_traceback(
    tmp_path: Path, arguments: list[str]
) -> None:
    """The whole way: `conf` raises on such settings, and the command must not fall over it."""
    (tmp_path / "bad_settings.py").write_text(
        "from tests.settings import *\n"
        "RAFTDJANGO = {'NODES': {'n2': 'nowhere'}, 'COLOUR': 'red', 'HEARTBEAT_MS': 'often'}\n"
    )
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "bad_settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for identity in ("E002", "E003", "E004", "E005"):
        assert f"raftdjango.{identity}" in done.stderr


SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
RETRY = "raftdjango.middleware.RetryMiddleware"
FIRST = "raftdjango.middleware.ReadYourWritesMiddleware"
OWN = f"{__name__}.Patient"


class Patient(RetryMiddleware):
    attempts = 50


class TestMiddleware:
    @pytest.mark.parametrize(
        ("order", "identities"),
        [
            ([], []),
            ([SESSIONS], []),
            ([FIRST, SESSIONS, RETRY], []),
            ([SECURITY, FIRST, SESSIONS, OWN], []),
            ([SECURITY, CSRF, FIRST], []),
            ([RETRY, SESSIONS], ["W061"]),
            ([OWN, "gone.Middleware"], ["W061"]),
            (["gone.Middleware", RETRY], []),
            ([SESSIONS, FIRST], ["W062"]),
            ([RETRY, SESSIONS, FIRST], ["W061", "W062"]),
        ],
    )
    def test_order(self, order: list[str], identities: list[str]) -> None:
        with override_settings(MIDDLEWARE=order):
            messages = checks.check_middleware()
        assert [message.id for message in messages] == [f"raftdjango.{i}" for i in identities]
        assert all(message.hint for message in messages)

    def test_protection_that_keeps_its_secret_in_the_session(self) -> None:
        with override_settings(MIDDLEWARE=[CSRF, FIRST], CSRF_USE_SESSIONS=True):
            (message,) = checks.check_middleware()
        assert CSRF in message.msg


def test_levels_match_ids() -> None:
    for message in found({"NODES": PEERS, "HEARTBEAT_MS": 400}, deploy=True).values():
        assert isinstance(message, Error) == str(message.id).startswith("raftdjango.E")
