"""What a request was like, so that another run of its view finds it so again.

Containers are taken apart and put together again; of other things only those are looked into whose
insides views are known to change: the session, the messages, rows such as `request.user`.  Everything
else is shared: it may be a socket, or lead to one.
"""

from __future__ import annotations

import copy
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.contrib.messages.storage.base import BaseStorage
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Model
from django.db.models.base import ModelState
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.functional import LazyObject, empty

if TYPE_CHECKING:
    from django.http import HttpRequest

BODY = frozenset({"_body", "_read_started", "_stream", "_post", "_files", "_upload_handlers"})
"""What a request keeps of its body once it was read: the next run reads it from there."""
PARSED = frozenset({"_post", "_files"})
LOOKED_INTO = frozenset({"session", "_messages"})
SERVERS_OWN = frozenset({"environ", "META", "scope"})
"""What the server gave, in which views may change the top at most."""


class Undo:
    """A request as it was, its body apart."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        attributes = vars(request)
        self._attributes = dict(attributes)
        self._containers = {
            name: copied(value)
            for name, value in self._attributes.items()
            if name not in SERVERS_OWN | BODY and _is_container(value)
        }
        self._meta = dict(request.META)
        self._unevaluated: list[Any] = []
        found: dict[int, Any] = {}
        for name, value in self._attributes.items():
            lazy = _is(value, LazyObject)
            if lazy and value._wrapped is empty:
                self._unevaluated.append(value)
            else:
                value = value._wrapped if lazy else value
                _find_things(value, found, sure=name in LOOKED_INTO)
        self._insides = [(each, copied(vars(each))) for each in found.values()]
        """Things, and what their attributes were."""
        self._forms: dict[str, Any] = {}
        if "_post" in attributes:
            self._note_forms()

    @property
    def has_forms(self) -> bool:
        """Whether a form was parsed, and is remembered as it was then."""
        return bool(self._forms)

    def remember_forms(self) -> None:
        """Have the form remembered as soon as it is parsed; needed where the body is not kept."""
        request: Any = self._request
        if self._forms:
            return
        if hasattr(request, "_post"):
            self._note_forms()
            return
        parse = request._load_post_and_files

        def parse_and_remember() -> None:
            vars(request).pop("_load_post_and_files", None)
            parse()
            self._note_forms()

        request._load_post_and_files = parse_and_remember

    def _note_forms(self) -> None:
        attributes = vars(self._request)
        self._forms = {name: copied(attributes[name]) for name in PARSED & attributes.keys()}

    def __call__(self) -> None:
        """Have everything as it was."""
        attributes = vars(self._request)
        body = {name: value for name, value in attributes.items() if name in BODY}
        if "_body" in body:
            # Parsed anew, if the view asks for it again.
            body = {name: value for name, value in body.items() if name not in PARSED}
            body["_stream"] = BytesIO(body["_body"])
        # Others than the view may have put something in the place of what was parsed.
        body.update({name: copied(value) for name, value in self._forms.items()})
        attributes.clear()
        attributes.update({**self._attributes, **body})
        for name, contents in self._containers.items():
            # Another one, and not refilled: it may be everybody's.
            attributes[name] = copied(contents)
        self._request.META.clear()
        self._request.META.update(self._meta)
        for lazy in self._unevaluated:
            lazy._wrapped = empty
        for thing, contents in self._insides:
            vars(thing).clear()
            vars(thing).update(copied(contents))
        for _, files in body["_files"].lists() if "_files" in body else ():
            for file in files:
                file.seek(0)


def _is(value: Any, *kinds: type) -> bool:
    """`isinstance()` would evaluate what is lazy."""
    return issubclass(type(value), kinds)


def copied(value: Any, known: dict[int, Any] | None = None) -> Any:
    """Containers anew, with the same contents in them; what they hold in a circle, too."""
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    kind = type(value)
    if _is(value, MultiValueDict):
        twin: Any = copy.copy(value)
        if _is(value, QueryDict):
            twin._mutable = value._mutable
        return twin
    # At once, before it is gone through: it may be everybody's, and change meanwhile.
    if kind is dict:
        known[id(value)] = twin = value.copy()
        for name, each in value.copy().items():
            twin[name] = copied(each, known)
        return twin
    if kind is list:
        known[id(value)] = twin = value.copy()
        twin[:] = [copied(each, known) for each in value.copy()]
        return twin
    return set(value) if kind is set else value


def _is_container(value: Any) -> bool:
    return type(value) in {dict, list, set} or _is(value, MultiValueDict)


def _find_things(value: Any, found: dict[int, Any], *, sure: bool = False) -> None:
    """What of a request's attribute is looked into, by identity."""
    if id(value) in found or not (sure or _is(value, Model, SessionBase, BaseStorage)):
        return
    attributes = getattr(value, "__dict__", None)
    if attributes is None:
        return
    found[id(value)] = value
    if _is(value, BaseStorage):
        for each in getattr(value, "storages", ()):  # Django's default one is made of several
            _find_things(each, found)
    state = attributes.get("_state")
    if _is(value, Model) and _is(state, ModelState):
        found[id(state)] = state
        for each in list(vars(state).get("fields_cache", {}).values()):
            _find_things(each, found)
