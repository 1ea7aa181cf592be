"""Other Python processes that have the same file open."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 20


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.002)


class Process:
    """Another Python process with `right` open; runs the lines given, answers by printing."""

    def __init__(self, folder: Path, script: str) -> None:
        prelude = f"""
            import os, sys
            from pathlib import Path
            from raftdjango.right_of_way.lock_file import RightOfWay
            right = RightOfWay.open(Path({str(folder)!r}), lock_yield_ms=50)
            def say(word):
                os.write(1, (str(word) + chr(10)).encode())  # whole lines, whoever else writes
        """
        source = textwrap.dedent(prelude) + textwrap.dedent(script)
        self.popen = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def hear(self) -> str:
        assert self.popen.stdout
        return self.popen.stdout.readline().strip()

    def tell(self) -> None:
        assert self.popen.stdin
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGCONT)
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.stdin.close()
        self.popen.stdout.close()


Start = Callable[[str], Process]

HOLD = """
    watch = right.watch(lambda: say("doomed"))
    say("holding")
    sys.stdin.readline()
    say(right.unwatch(watch))
    sys.stdin.readline()
"""
WANT = """
    with right.wanted():
        say("waiting")
        sys.stdin.readline()
    say("has it")
    sys.stdin.readline()
"""
