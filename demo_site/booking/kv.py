"""A key-value store over HTTP in a few lines, as goraft's reference program raftd had.

    curl -X POST -d 'hello' http://127.0.0.1:8001/kv/greeting
    curl http://127.0.0.1:8002/kv/greeting

A write is answered once it is on the disks of a majority; any node reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from demo_site.booking.forms import PairForm
from demo_site.booking.models import Pair

if TYPE_CHECKING:
    from django.http import HttpRequest

VALUE_BYTES_MAX = 64 * 1024
KEY_LENGTH_MAX = 200
SHOWN_MAX = 100


def put(key: str, value: str) -> None:
    """Write one pair in one statement: the last one in the log wins."""
    Pair.objects.bulk_create(
        [Pair(key=key, value=value, updated_at=timezone.now())],
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=["value", "updated_at"],
    )


# Programs call this, without a browser's session: there is nothing for a forged request to use.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST", "PUT", "DELETE"])
def pair(request: HttpRequest, key: str) -> HttpResponse:
    """Read, write or remove one key.  Plain text; JSON for who asks for it."""
    if len(key) > KEY_LENGTH_MAX:
        return _refusal(request, 400, f"A key has at most {KEY_LENGTH_MAX} characters.")
    if request.method in {"POST", "PUT"}:
        return _write(request, key)
    if request.method == "DELETE":
        removed, _ = Pair.objects.filter(key=key).delete()
        return HttpResponse(status=204) if removed else _refusal(request, 404, "No such key.")
    value = Pair.objects.filter(key=key).values_list("value", flat=True).first()
    return _refusal(request, 404, "No such key.") if value is None else _value(request, key, value)


def _write(request: HttpRequest, key: str) -> HttpResponse:
    if int(request.META.get("CONTENT_LENGTH") or 0) > VALUE_BYTES_MAX:
        return _refusal(request, 413, f"A value has at most {VALUE_BYTES_MAX} bytes.")
    try:
        value = request.body.decode()
    except UnicodeDecodeError:
        return _refusal(request, 400, "A value is UTF-8 text.")
    if "\x00" in value + key:
        return _refusal(request, 400, "No NUL characters, please.")
    put(key, value)
    return _value(request, key, value)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """The store in a browser."""
    form = PairForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        put(form.cleaned_data["key"], form.cleaned_data["value"])
        messages.success(request, f"{form.cleaned_data['key']} is written.")
        return redirect("booking:kv")
    query = request.GET.get("q", "").strip()
    found = Pair.objects.filter(Q(key__icontains=query) | Q(value__icontains=query))
    context = {"form": form, "pairs": found[:SHOWN_MAX], "query": query, "shown_max": SHOWN_MAX}
    return render(request, "booking/kv.html", context)


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/plain", "application/json"]) == "application/json"


def _value(request: HttpRequest, key: str, value: str) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"key": key, "value": value})
    return HttpResponse(value, content_type="text/plain; charset=utf-8")


def _refusal(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"detail": detail}, status=status)
    return HttpResponse(f"{detail}\n", status=status, content_type="text/plain; charset=utf-8")
