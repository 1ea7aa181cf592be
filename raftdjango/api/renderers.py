"""What people and scripts are answered in; peers are answered by `raftdjango.node.peers.links`."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.renderers import BaseRenderer


class FactsRenderer(BaseRenderer):
    """JSON, without the project's preferences."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        """The bytes of `data`."""
        return json.dumps(data, indent=1).encode() + b"\n"


class TextRenderer(BaseRenderer):
    """Prometheus' text exposition; refusals are JSON."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"
    format = "txt"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        """The bytes of `data`: a string, or a refusal's dictionary."""
        return data.encode() if isinstance(data, str) else json.dumps(data).encode()
