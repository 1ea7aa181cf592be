"""Checks of where the middleware stands: each does its work only in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, register
from django.utils.module_loading import import_string

from raftdjango.checks.reading import warning
from raftdjango.middleware import ReadYourWritesMiddleware, RetryMiddleware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig

ASKING = frozenset(
    {
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
        "django.contrib.auth.middleware.PersistentRemoteUserMiddleware",
        "django.contrib.auth.middleware.RemoteUserMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.sites.middleware.CurrentSiteMiddleware",
        "django.middleware.cache.CacheMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
        "django.middleware.cache.UpdateCacheMiddleware",
    }
)
"""Of Django's own: those that may read or write the database, sessions and caches included.  Of others
nobody knows."""
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


@register(Tags.compatibility)
def check_middleware(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W061, W062: the order of `MIDDLEWARE`."""
    names = list(django_settings.MIDDLEWARE or ())
    return [*_retry_is_last(names), *_read_your_writes_is_first(names)]


def _retry_is_last(names: list[str]) -> list[CheckMessage]:
    place = _place(names, RetryMiddleware)
    if place is None or not (behind := names[place + 1 :]):
        return []
    return [
        warning(
            "W061",
            f"{names[place]} is not the last of MIDDLEWARE: {', '.join(behind)} behind it will run "
            "again with each view that is retried, and may answer conflicts before they are.",
            "Move it to the end of MIDDLEWARE.",
        )
    ]


def _read_your_writes_is_first(names: list[str]) -> list[CheckMessage]:
    place = _place(names, ReadYourWritesMiddleware)
    if place is None:
        return []
    asking = ASKING | {CSRF} if django_settings.CSRF_USE_SESSIONS else ASKING
    before = [name for name in names[:place] if name in asking]
    if not before:
        return []
    return [
        warning(
            "W062",
            f"{names[place]} stands behind {', '.join(before)}: what is read there may be older than "
            "what the user wrote before, and the user is not told of what is written there.",
            "Move it to the beginning of MIDDLEWARE.",
        )
    ]


def _place(names: list[str], kind: type) -> int | None:
    """Where the middleware stands, or one derived from it."""
    for place, name in enumerate(names):
        try:
            found = import_string(name)
        except Exception:  # noqa: S112 - Django says so when it loads it.
            continue
        if isinstance(found, type) and issubclass(found, kind):
            return place
    return None
