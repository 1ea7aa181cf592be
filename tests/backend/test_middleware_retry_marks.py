"""`retry_on_conflict` and `never_retry` on everything that answers requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View
from rest_framework.decorators import action, api_view
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from raftdjango.exceptions import TransactionConflict
from raftdjango.middleware import never_retry, retry_on_conflict
from raftdjango.testing.faults import conflict, inject
from raftdjango.transaction import retry as retry_module
from tests.backend.models import Account

pytestmark = pytest.mark.django_db(transaction=True)

runs: list[str] = []


def add(request: Any, **kwargs: Any) -> HttpResponse:
    runs.append(request.method)
    with transaction.atomic():
        Account.objects.filter(name="ada").update(balance=F("balance") + 1)
    return HttpResponse("added")


class Plain(View):
    http_method_names = ["get", "head", "post", "put"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return add(request)

    post = put = get


@retry_on_conflict
class Always(Plain):
    pass


@never_retry
class Never(Plain):
    pass


class Heir(Always):
    pass


@never_retry
class ByMethod(Plain):
    @retry_on_conflict
    def post(self, request: HttpRequest) -> HttpResponse:
        return add(request)

    @retry_on_conflict
    def get(self, request: HttpRequest) -> HttpResponse:
        return add(request)


@method_decorator(retry_on_conflict, name="dispatch")
class ByDispatch(Plain):
    pass


@retry_on_conflict
class Api(APIView):
    def post(self, request: Any) -> Response:
        add(request)
        return Response("added")


@never_retry
class NeverApi(APIView):
    def put(self, request: Any) -> Response:
        add(request)
        return Response("added")


@retry_on_conflict
class Set(ViewSet):
    def create(self, request: Any) -> Response:
        add(request)
        return Response("added")

    @never_retry
    @action(detail=False, methods=["post"])
    def once(self, request: Any) -> Response:
        return self.create(request)


@never_retry
class NeverSet(ViewSet):
    def list(self, request: Any) -> Response:
        add(request)
        return Response("added")

    @action(detail=False, methods=["post"])
    @retry_on_conflict
    def again(self, request: Any) -> Response:
        return self.list(request)


@retry_on_conflict
@api_view(["POST"])
def api(request: Any) -> Response:
    add(request)
    return Response("added")


@csrf_exempt
@login_not_required
@retry_on_conflict
def function(request: HttpRequest) -> HttpResponse:
    return add(request)


router = SimpleRouter()
router.register("set", Set, basename="set")
router.register("never-set", NeverSet, basename="never-set")
urlpatterns = [
    path("plain/", Plain.as_view()),
    path("always/", Always.as_view()),
    path("heir/", Heir.as_view()),
    path("never/", Never.as_view()),
    path("by-method/", ByMethod.as_view()),
    path("by-dispatch/", ByDispatch.as_view()),
    path("marked/", retry_on_conflict(Plain.as_view())),
    path("api/", Api.as_view()),
    path("never-api/", NeverApi.as_view()),
    path("api-function/", api),
    path("function/", function),
    path("", include(router.urls)),
]


@pytest.fixture(autouse=True)
def site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["raftdjango.middleware.RetryMiddleware"]
    monkeypatch.setattr(retry_module.random, "uniform", lambda low, high: 0)
    runs.clear()
    Account.objects.create(name="ada", balance=0)
    yield


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("get", "plain"),
        ("post", "always"),
        ("post", "heir"),
        ("post", "by-method"),
        ("head", "by-method"),
        ("post", "by-dispatch"),
        ("post", "marked"),
        ("post", "api"),
        ("post", "api-function"),
        ("post", "function"),
        ("post", "set"),
        ("post", "never-set/again"),
    ],
)
def test_run_again(method: str, where: str) -> None:
    with inject(conflict):
        response = getattr(Client(), method)(f"/{where}/")
    assert response.status_code == 200
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("post", "plain"),
        ("get", "never"),
        ("put", "by-method"),
        ("put", "never-api"),
        ("post", "set/once"),
        ("get", "never-set"),
    ],
)
def test_left_alone(method: str, where: str) -> None:
    with inject(conflict), pytest.raises(TransactionConflict):
        getattr(Client(), method)(f"/{where}/")
    assert len(runs) == 1


class Other:
    def method(self) -> None:
        pass


@pytest.mark.parametrize(
    "wrong", [Other, Other().method, path("x/", add), "view", len], ids=lambda each: str(type(each))
)
@pytest.mark.parametrize("decorator", [retry_on_conflict, never_retry])
def test_anything_else_is_refused(decorator: Any, wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=f"@{decorator.__name__} decorates a view function, a class"
    ):
        decorator(wrong)
