"""`manage.py serve`: this node's web site, for the demo.

One thread a connection, static files included, stopped by SIGTERM after the requests it is in.
A site that is more than a demo wants a real WSGI server: nothing in it would change.
"""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.contrib.staticfiles.views import serve as serve_static
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

from demo_site.layout import current_layout, demo_folder
from demo_site.processes import SITE_FILE, register_site
from raftdjango.client import connect
from raftdjango.conf import get_settings, replicated_aliases
from raftdjango.exceptions import ReplicationError

logger = logging.getLogger("demo_site.serve")

CATCH_UP_TIMEOUT_S = 30


class StaticFiles(StaticFilesHandler):
    """Serves static files whether or not DEBUG is on."""

    def serve(self, request: Any) -> Any:
        """One file, or 404."""
        return serve_static(request, self.file_path(request.path), insecure=True)


class Server(ThreadedWSGIServer):
    """Does not wait at shutdown for browsers that keep a connection open."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Leaves successful requests for static files out of the log."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        if not (self.path.startswith("/static/") and str(args[1])[:1] in "23"):
            super().log_message(format, *args)


class Command(BaseCommand):
    """Binds loopback only."""

    help = "Serves this node's site (RAFTDJANGO_NODE_ID says which node)."

    def add_arguments(self, parser: CommandParser) -> None:
        """The options."""
        parser.add_argument("--port", type=int, help="default: this node's port in the demo")

    def handle(self, *, port: int | None, **options: Any) -> None:
        """Serve until told to stop."""
        node_id = get_settings().node_id
        port = port or current_layout().site_port(node_id)
        try:
            server = Server(("127.0.0.1", port), Handler)
        except OSError as error:
            raise CommandError(f"Port {port} cannot be bound: {error.strerror}.") from None
        node_folder = demo_folder() / node_id
        register_site(node_folder)
        server.set_app(StaticFiles(get_wsgi_application()))
        catch_up()

        def stop(signum: int, frame: Any) -> None:
            # shutdown() waits for serve_forever(), which runs in this very thread.
            threading.Thread(target=server.shutdown, daemon=True).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        logger.info("site of %s at http://127.0.0.1:%d/", node_id, port)
        server.serve_forever(poll_interval=0.2)
        server.server_close()
        (node_folder / SITE_FILE).unlink(missing_ok=True)


def catch_up() -> None:
    """Wait until this node has applied what the cluster has: its first page then shows it."""
    for alias in replicated_aliases():
        client = connect(alias)
        try:
            client.refresh(timeout_s=CATCH_UP_TIMEOUT_S)
        except ReplicationError as error:
            logger.warning("serving what this node has, which may be old: %s", error)
        finally:
            client.close()
