"""Whether a view may be answered anew: what its decorators say, on functions, methods and classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.views.generic import View as ClassView

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "retry_on_conflict"

View = TypeVar("View", bound="Callable[..., Any]")


def retry_on_conflict(view: View) -> View:
    """Have `RetryMiddleware` run this view again whatever the method: twice must be like once.

    A view function, a class-based view, an APIView or ViewSet, or one of their methods.
    """
    return _marked(view, choice=True)


def never_retry(view: View) -> View:
    """Have `RetryMiddleware` leave this view, class or method alone."""
    return _marked(view, choice=False)


def _marked(view: View, *, choice: bool) -> View:
    name = "retry_on_conflict" if choice else "never_retry"
    advice = (
        f"@{name} decorates a view function, a class with as_view() (View, APIView, ViewSet) or one "
        "of its methods, and not"
    )
    if not callable(view) or (isinstance(view, type) and not issubclass(view, ClassView)):
        raise TypeError(f"{advice} {view!r}.")
    try:
        setattr(view, MARK, choice)
    except AttributeError as error:
        raise TypeError(f"{advice} {view!r}, which takes no attributes.") from error
    return view


def choice_of(view: Callable[..., Any], method: str | None) -> bool | None:
    """What was chosen for a view and an HTTP method; None if nothing was.

    What as_view() gave knows its class; the method's own decorator counts before the class'.
    """
    chosen: bool | None = getattr(view, MARK, None)
    cls = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if chosen is not None or cls is None:
        return chosen
    chosen = getattr(_handler(view, cls, (method or "").lower()), MARK, None)
    return getattr(cls, MARK, None) if chosen is None else chosen


def _handler(view: Any, cls: type, method: str) -> Any:
    """The method of the class that answers; a HEAD is answered by what answers a GET."""
    actions = getattr(view, "actions", None)
    for name in (method, "get") if method == "head" else (method,):
        name = actions.get(name) if actions else name
        handler = getattr(cls, name, None) if name else None
        if handler is not None:
            return handler
    return None
