"""A web worker's stand-in: calls functions of `settings.SCRIPTS` as it is told, by JSON lines."""

from __future__ import annotations

import importlib
import json
import sys
import traceback

import django
from django.conf import settings


def main() -> None:
    django.setup()
    scripts = importlib.import_module(settings.SCRIPTS)
    print(json.dumps({"result": "ready"}), flush=True)
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
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
