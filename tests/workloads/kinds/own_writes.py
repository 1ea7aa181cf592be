"""Users whose requests go to any node: each sees what it wrote, by the cookie that it carries along."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from http.cookies import SimpleCookie
from importlib.util import find_spec
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.workloads.history import Operation
from tests.workloads.kinds.base import Client, Declined, Findings, Workload
from tests.workloads.models import Page

TIMEOUT_S = 30.0


class OwnWrites(Workload):
    name = "own-writes"
    promise = "with the middleware's cookie or header, a user reads what it wrote, on whatever node"

    def unavailable(self) -> str:
        there = find_spec("raftdjango.middleware") and find_spec(
            "raftdjango.middleware.read_your_writes"
        )
        return "" if there else "there is no raftdjango.middleware.ReadYourWritesMiddleware yet"

    def choose(self, client: Client) -> tuple[str, Any]:
        node = client.rng.choice(sorted(client.sites))
        if client.rng.random() < 0.4:
            client.memory["value"] = client.memory.get("value", 0) + 1
            return "write", [node, client.name, client.memory["value"]]
        return "read", [node, client.name]

    def perform(self, client: Client, action: str, argument: Any) -> Any:
        node, user, *value = argument
        carrying: dict[str, str] = client.memory.setdefault("carrying", {})
        connection = http.client.HTTPConnection("127.0.0.1", client.sites[node], timeout=TIMEOUT_S)
        url = f"/page?user={user}" + (f"&value={value[0]}" if value else "")
        try:
            connection.request("POST" if value else "GET", url, headers=carrying)
            response = connection.getresponse()
            body = response.read().decode()
        except ConnectionRefusedError as error:
            raise Declined("the site is down") from error
        except (OSError, http.client.HTTPException) as error:
            raise TimeoutError(str(error)) from error
        finally:
            connection.close()
        self._remember(client, response)
        if response.status == 503:
            raise Declined(body)
        if response.status == 202:
            raise TimeoutError(body)
        if response.status != 200:
            raise AssertionError(f"{response.status}: {body[:500]}")
        return int(body)

    def _remember(self, client: Client, response: http.client.HTTPResponse) -> None:
        """Half of the users are browsers, the others speak to an API."""
        carrying = client.memory["carrying"]
        if client.number % 2:
            if position := response.getheader("Raft-Position"):
                carrying["Raft-Position"] = position
            return
        for header in response.headers.get_all("Set-Cookie") or []:
            for name, cookie in SimpleCookie(header).items():
                carrying["Cookie"] = f"{name}={cookie.value}"

    def judge(self, operations: Sequence[Operation], final: Any) -> Findings:
        violations = []
        written: dict[str, int] = {}
        elsewhere = 0
        last_node: dict[str, str] = {}
        for operation in operations:  # in the order of calls, and a user makes one at a time
            node, user, *value = operation.argument
            if value and operation.ok:
                written[user], last_node[user] = value[0], node
            if not value and operation.ok:
                if operation.result < written.get(user, 0):
                    violations.append(f"{user} had written {written[user]}: {operation}")
                elsewhere += user in written and node != last_node[user]
        return Findings(violations, [] if elsewhere else ["a read on another node than the write"])


@csrf_exempt
def page(request: HttpRequest) -> HttpResponse:
    """What a user last wrote; a POST writes."""
    from raftdjango.exceptions import ClusterUnavailable, CommitUncertain, TransactionConflict

    user = request.GET["user"]
    try:
        if request.method == "POST":
            value = int(request.GET["value"])
            Page.objects.update_or_create(user=user, defaults={"value": value})
            return HttpResponse(value)
        found = Page.objects.filter(user=user).first()
        return HttpResponse(found.value if found else 0)
    except CommitUncertain as error:
        return HttpResponse(str(error), status=202)
    except (ClusterUnavailable, TransactionConflict) as error:
        return HttpResponse(str(error), status=503)


urlpatterns = [path("page", page)]
