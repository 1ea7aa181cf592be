"""The endpoints of a raftnode, served by its own HTTP server under `/raft/v1/`.

`messages` runs on the node's loop and never waits; what may be slow (a password to check) runs in
a small pool.  No middleware, session or setting of the project takes part.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import MethodNotAllowed, UnsupportedMediaType
from rest_framework.response import Response
from rest_framework.views import APIView

from raftdjango.api import metrics
from raftdjango.api.authentication import (
    StaffAuthentication,
    StaffOrPeerAuthentication,
    find_group,
    group_of_request,
    verify,
)
from raftdjango.api.errors import error_body, error_response
from raftdjango.api.negotiation import OneFormat
from raftdjango.api.parsers import BatchParser, parse
from raftdjango.api.permissions import IsStaffOrPeer
from raftdjango.api.renderers import FactsRenderer, TextRenderer
from raftdjango.node.http.served import REQUEST_KEY
from raftdjango.node.http.views import Later
from raftdjango.node.peers.signing import RESPONSE_HEADER, SCHEME, StaleBoot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rest_framework.authentication import BaseAuthentication
    from rest_framework.permissions import BasePermission
    from rest_framework.renderers import BaseRenderer
    from rest_framework.request import Request

    from raftdjango.node.http.served import Server
    from raftdjango.node.peers.signing import Envelope
    from raftdjango.node.peers.transport import Transport


class NodeView(APIView):
    """What all endpoints share: one format each, and errors as `{code, detail, leader}`."""

    authentication_classes: Sequence[type[BaseAuthentication]] = ()
    permission_classes: Sequence[type[BasePermission]] = ()
    parser_classes = (BatchParser,)
    renderer_classes: Sequence[type[BaseRenderer]] = (FactsRenderer,)
    throttle_classes = ()
    content_negotiation_class = OneFormat
    versioning_class = None
    metadata_class = None

    def perform_authentication(self, request: Request) -> None:
        """Only where something is asked of the caller; the project's anonymous user is none of ours."""
        if self.authentication_classes:
            super().perform_authentication(request)

    def handle_exception(self, exc: Exception) -> Response:
        """Every failure, as JSON."""
        response = error_response(exc, challenge=self.get_authenticate_header(self.request))
        response.exception = True
        if isinstance(exc, MethodNotAllowed):
            response["Allow"] = ", ".join(self.allowed_methods)
        return response

    @property
    def default_response_headers(self) -> dict[str, str]:
        """None: which methods are allowed is only told to whom it helps."""
        return {}

    @property
    def server(self) -> Server:
        """The server of this request."""
        return self.request.META[REQUEST_KEY]  # type: ignore[no-any-return]


class MessagesView(NodeView):
    """`POST <group>/messages`: a peer's batch in, what is ready for that peer out."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """An `Exchange`, to be answered when it has settled, or `Later`; or a refusal.  Never waits.

        In place of `APIView.dispatch`: of parsers, renderers, authentication and permissions there
        is one each here, and to find that out for every request is half of what one costs.
        """
        self.request, self.args, self.kwargs = request, args, kwargs
        envelope = None
        try:
            if request.method != "POST":
                raise MethodNotAllowed(request.method or "")
            transport = find_group(request, kwargs["group"]).transport
            envelope = verify(request, transport)
            if request.content_type != BatchParser.media_type:
                raise UnsupportedMediaType(request.content_type)
            taken = transport.receive(envelope, parse(request.body))
        except Exception as error:
            return self._refusal(error, envelope)
        if isinstance(taken, asyncio.Future):
            return Later(taken, partial(self._refusal, envelope=envelope))
        return taken

    def _refusal(self, error: Exception, envelope: Envelope | None) -> Response:
        """With the leader as far as this node knows it; signed in answer to a genuine request."""
        response = error_response(error, challenge=SCHEME)
        if isinstance(error, MethodNotAllowed):
            response["Allow"] = "POST"
        group = self.server.node.groups.get(self.kwargs["group"])
        if group is not None:
            response.data["leader"] = group.status().get("leader")
            if isinstance(error, StaleBoot):
                envelope = error.envelope
            if envelope is not None:
                _seal(response, group.transport, envelope)
        self.headers = self.default_response_headers
        request = self.initialize_request(self.request, *self.args, **self.kwargs)
        return self.finalize_response(request, response, *self.args, **self.kwargs)


def _seal(response: Response, transport: Transport, envelope: Envelope) -> None:
    def seal(rendered: Response) -> None:
        rendered.headers[RESPONSE_HEADER] = transport.seal(
            rendered.status_code, rendered.content, envelope
        )

    response.add_post_render_callback(seal)


class StatusView(NodeView):
    """`GET <group>/status`: role, term, leader, indexes, members with their lag."""

    http_method_names = ["get", "head"]
    authentication_classes = (StaffOrPeerAuthentication,)
    permission_classes = (IsStaffOrPeer,)

    def get(self, request: Request, group: str) -> Response:
        """The facts that `raftctl status --json` prints."""
        return Response(self.server.on_loop(group_of_request(request).status))


class MetricsView(NodeView):
    """`GET metrics`: the status of every group for Prometheus."""

    http_method_names = ["get", "head"]
    authentication_classes = (StaffAuthentication,)
    permission_classes = (IsStaffOrPeer,)
    renderer_classes = (TextRenderer,)

    def get(self, request: Request) -> Response:
        """Text exposition format 0.0.4."""
        groups = self.server.node.groups
        facts = self.server.on_loop(
            lambda: {name: group.status() for name, group in groups.items()}
        )
        return Response(metrics.exposition(facts))


class LiveView(NodeView):
    """`GET health/live`: the loop turns.  Open to all, tells nothing else."""

    http_method_names = ["get", "head"]

    def get(self, request: Request) -> Response:
        """Always 200: an answer is the proof."""
        return Response({"status": "ok"})


class ReadyView(NodeView):
    """`GET health/ready`: this node serves.  Open to all, since load balancers have no password."""

    http_method_names = ["get", "head"]

    def get(self, request: Request) -> Response:
        """200, or 503 with the reason."""
        facts = self.server.on_loop(
            lambda: {name: group.status() for name, group in self.server.node.groups.items()}
        )
        for name, status in facts.items():
            if not status.get("ready"):
                detail = f"Group {name!r}: {status.get('not_ready_reason') or 'not ready'}"
                return Response(error_body("not_ready", detail, status.get("leader")), status=503)
        return Response({"status": "ok"})
