"""Protobuf in: one `peer.Batch`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from google.protobuf.message import DecodeError
from rest_framework.parsers import BaseParser

from raftcore.errors import Malformed
from raftdjango.node.peers.peer_pb2 import Batch


class BatchParser(BaseParser):
    """`application/x-protobuf` to a `Batch`."""

    media_type = "application/x-protobuf"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The batch in `stream`; `Malformed` where there is none."""
        return parse(stream.read())


def parse(body: bytes) -> Batch:
    """A request's body as a batch; raises `Malformed`."""
    try:
        return Batch.FromString(body)
    except DecodeError as error:
        raise Malformed(str(error)) from error
