"""Each endpoint speaks one format; negotiating it would cost as much as the rest of the view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.negotiation import BaseContentNegotiation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rest_framework.parsers import BaseParser
    from rest_framework.renderers import BaseRenderer
    from rest_framework.request import Request


class OneFormat(BaseContentNegotiation):
    """The only renderer, whatever is asked for; the only parser, if the body claims its type."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> Any:
        """The parser, or None (415) for a body of another type."""
        parser = next(iter(parsers))
        return parser if request.content_type == parser.media_type else None

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> Any:
        """The renderer and its type."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
