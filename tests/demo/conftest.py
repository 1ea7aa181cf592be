"""The demo site's own URLs, middleware and context, on the suite's databases."""

from __future__ import annotations

from typing import Any

import pytest

from demo_site.booking import context


@pytest.fixture(autouse=True)
def demo_site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_status", context._Status())
    settings.ROOT_URLCONF = "demo_site.urls"
    settings.LOGIN_URL = "login"
    settings.LOGIN_REDIRECT_URL = settings.LOGOUT_REDIRECT_URL = "booking:events"
    settings.MIDDLEWARE = ["demo_site.booking.middleware.ClusterMiddleware", *settings.MIDDLEWARE]
    processors = settings.TEMPLATES[0]["OPTIONS"]["context_processors"]
    settings.TEMPLATES = [
        {
            **settings.TEMPLATES[0],
            "OPTIONS": {
                "context_processors": [*processors, "demo_site.booking.context.cluster"],
            },
        }
    ]
