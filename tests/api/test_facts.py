"""Health, status and metrics: who may ask, and what is answered."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User

from tests.api.callers import Caller, refusal, with_node
from tests.api.nodes import Node


class TestFacts:
    FACTS = {
        "node": "n2",
        "leader": "n2",
        "term": 3,
        "turns": {"holder": None, "waiting": 2, "held": 0, "granted": 7, "timed_out": 0},
        "members": [{"id": "n1", "lag": 4}],
    }

    @staticmethod
    def basic(name: str, password: str) -> dict[str, str]:
        return {
            "Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
        }

    def test_health(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            live = requests.get(n2.url + "/raft/v1/health/live", timeout=10)
            assert (live.status_code, live.json()) == (200, {"status": "ok"})
            ready = n2.url + "/raft/v1/health/ready"
            assert refusal(requests.get(ready, timeout=10)) == (503, "not_ready")
            n2.group.facts = {"leader": "n1", "ready": True, "not_ready_reason": ""}
            assert requests.get(ready, timeout=10).status_code == 200
            reason = "stopped applying: the disk is full"
            n2.group.facts = {"leader": "n1", "ready": False, "not_ready_reason": reason}
            answer = requests.get(ready, timeout=10)
            assert refusal(answer) == (503, "not_ready")
            assert reason in answer.json()["detail"]

        with_node(scenario)

    @pytest.mark.parametrize("path", ["/raft/v1/default/status", "/raft/v1/metrics"])
    def test_with_a_secret_facts_are_for_staff(self, path: str, monkeypatch: Any) -> None:
        users = {"boss": User(username="boss", is_staff=True), "guest": User(username="guest")}

        def authenticate(*, request: Any, username: str, password: str) -> User | None:
            return users.get(username) if password == "right" else None

        monkeypatch.setattr("rest_framework.authentication.authenticate", authenticate)

        def scenario(n2: Node, n1: Caller) -> None:
            n2.group.facts = self.FACTS

            def get(**headers: str) -> requests.Response:
                return requests.get(n2.url + path, headers=headers, timeout=10)

            response = get()
            assert refusal(response) == (401, "not_authenticated")
            assert response.headers["WWW-Authenticate"].startswith("Basic")
            assert refusal(get(**self.basic("boss", "wrong"))) == (401, "authentication_failed")
            assert refusal(get(**self.basic("guest", "right"))) == (403, "permission_denied")
            assert get(**self.basic("boss", "right")).status_code == 200

        with_node(scenario)

    def test_status_for_a_peer(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            n2.group.facts = self.FACTS
            path = "/raft/v1/default/status"
            header, _ = n1.signer.sign_request(
                "GET",
                path,
                b"",
                sender=n1.standing,
                receiver="n2",
                boot=n2.transport.signer.boot,
            )
            response = requests.get(n2.url + path, headers={"Authorization": header}, timeout=10)
            assert response.json() == self.FACTS

        with_node(scenario)

    def test_without_a_secret_loopback_may_look(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            n2.group.facts = self.FACTS
            response = requests.get(n2.url + "/raft/v1/default/status", timeout=10)
            assert response.json() == self.FACTS
            page = requests.get(n2.url + "/raft/v1/metrics", timeout=10)
            assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert 'raftdjango_term{group="default"} 3\n' in page.text
            assert 'raftdjango_is_leader{group="default"} 1\n' in page.text
            assert 'raftdjango_member_lag{group="default",member="n1"} 4\n' in page.text
            assert 'raftdjango_turns_waiting{group="default"} 2\n' in page.text
            assert "# TYPE raftdjango_turns_granted_total counter\n" in page.text
            assert 'raftdjango_turns_granted_total{group="default"} 7\n' in page.text

        with_node(scenario, secret="")

    def test_nothing_else_is_there(self) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            for path in ("/", "/admin/", "/raft/v1/default/members", "/raft/v1/"):
                assert refusal(requests.get(n2.url + path, timeout=10)) == (404, "not_found")

        with_node(scenario)

    def test_a_fault_is_one_answer_and_one_log_entry(self, caplog: Any) -> None:
        def scenario(n2: Node, n1: Caller) -> None:
            def broken() -> Any:
                raise RuntimeError("no such thing")

            n2.group.status = broken  # type: ignore[method-assign]
            url = n2.url + "/raft/v1/default/status"
            assert refusal(requests.get(url, timeout=10)) == (500, "error")

        with_node(scenario, secret="")
        assert "no such thing" in caplog.text
