"""A process on one node, with a thread for each client; told what to do by JSON lines, as a worker is."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django

PAUSE_S = 0.05
"""After a failure for want of a cluster: it would fail at once again, thousands of times."""


class Scripts:
    """What a process can be told to do; arguments and results are JSON."""

    def migrate(self) -> None:
        from django.core.management import call_command

        call_command("migrate", run_syncdb=True, verbosity=0)

    def change_schema(self) -> int:
        """As migrations do: each editor is one entry of the log; lost ones are done again."""
        from django.db import connection, models

        from raftdjango.exceptions import TransactionConflict
        from tests.workloads.models import Element, Numbers

        field = models.IntegerField(null=True)
        field.set_attributes_from_name("more")
        index = models.Index(fields=["text"], name="by_text")
        changes = [
            lambda editor: editor.add_field(Element, field),
            lambda editor: editor.add_index(Numbers, index),
            lambda editor: editor.remove_field(Element, field),
            lambda editor: editor.remove_index(Numbers, index),
        ]
        for change in changes:
            while True:
                try:
                    with connection.schema_editor() as editor:
                        change(editor)
                except TransactionConflict:
                    continue
                break
        return len(changes)

    def prepare(self, names: Sequence[str], seconds: float) -> None:
        from tests.workloads.kinds import WORKLOADS

        for name in names:
            WORKLOADS[name].prepare(seconds)

    def final(self, names: Sequence[str]) -> dict[str, Any]:
        from tests.workloads.kinds import WORKLOADS

        return {name: WORKLOADS[name].final() for name in names}

    def serve(self, port: int) -> None:
        """Serve the site from here on."""
        from django.core.wsgi import get_wsgi_application

        server = make_server("127.0.0.1", port, get_wsgi_application(), _Server, _Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(self, orders: Sequence[dict[str, Any]], history: str, stop_file: str) -> int:
        """Run clients until a file appears; how many operations they made."""
        from tests.workloads.history import Recorder

        recorder = Recorder(Path(history))
        counts: list[int] = []
        threads = [
            threading.Thread(target=_run, args=(order, recorder, Path(stop_file), counts))
            for order in orders
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recorder.close()
        return sum(counts)


class _Server(WSGIServer):
    """A thread for each request, as under most servers."""

    def process_request(self, request: Any, client_address: Any) -> None:
        threading.Thread(target=self._answer, args=(request, client_address), daemon=True).start()

    def _answer(self, request: Any, client_address: Any) -> None:
        from django.db import connections

        try:
            self.finish_request(request, client_address)
        finally:
            self.shutdown_request(request)
            connections.close_all()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


def _run(order: dict[str, Any], recorder: Any, stop_file: Path, counts: list[int]) -> None:
    from django.db import connections

    from tests.workloads.kinds import WORKLOADS
    from tests.workloads.kinds.base import Client

    workload = WORKLOADS[order.pop("workload")]
    client = Client(**order)
    count = 0
    try:
        while not stop_file.exists():
            action, argument = workload.choose(client)
            number = recorder.invoke(client.name, client.node, workload.name, action, argument)
            outcome, result, error = _perform(workload, client, action, argument)
            recorder.end(client.name, number, outcome, result, error)
            count += 1
            if error.startswith("ClusterUnavailable"):
                time.sleep(PAUSE_S)
    finally:
        connections.close_all()
        counts.append(count)


def _perform(workload: Any, client: Any, action: str, argument: Any) -> tuple[Any, Any, str]:
    """Outcome, result and error; what nobody foresaw is of unknown outcome, and told as such."""
    from django.db import IntegrityError

    from raftdjango.exceptions import ClusterUnavailable, CommitUncertain, TransactionConflict
    from tests.workloads.history import UNEXPECTED, Outcome
    from tests.workloads.kinds.base import Declined

    try:
        return Outcome.OK, workload.perform(client, action, argument), ""
    except (TransactionConflict, IntegrityError, ClusterUnavailable, Declined) as error:
        return Outcome.FAIL, None, f"{type(error).__name__}: {error}"
    except (CommitUncertain, TimeoutError) as error:
        return Outcome.UNKNOWN, None, f"{type(error).__name__}: {error}"
    except Exception:
        return Outcome.UNKNOWN, None, f"{UNEXPECTED}{traceback.format_exc()}"


def main() -> None:
    django.setup()
    scripts = Scripts()
    _answer({"result": "ready"})
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"result": getattr(scripts, name)(*arguments)}
        except Exception as error:
            answer = {
                "error": type(error).__name__,
                "message": str(error),
                "traceback": traceback.format_exc(),
            }
        _answer(answer)


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
