"""A detached demo of three nodes, and a real Chromium to visit it with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo_site.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
START_TIMEOUT_S = 400


@dataclass(frozen=True)
class Demo:
    """A demo that runs, or did."""

    folder: Path
    layout: Layout

    def command(self, *arguments: str, node_id: str = "n1") -> str:
        """Run one `manage.py` command as a node's operator would; what it prints."""
        environment = {
            **os.environ,
            "DEMO_FOLDER": str(self.folder),
            "RAFTDJANGO_NODE_ID": node_id,
            "DJANGO_SETTINGS_MODULE": "demo_site.settings",
        }
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self) -> str:
        return self.command(
            "demo", "--detach", "--nodes", "3", "--base-port", str(self.layout.base_port)
        )

    def stop(self) -> str:
        return self.command("demo", "--stop")

    def url(self, node_id: str, path: str = "") -> str:
        return self.layout.site_url(node_id) + path


def free_base_port() -> int:
    """A base port whose six ports nobody has."""
    for base_port in range(20000 + os.getpid() % 1000 * 10, 60000, 10):
        layout = Layout(3, base_port)
        with ExitStack() as stack:
            try:
                for node_id in layout.node_ids:
                    for port in (layout.raft_port(node_id), layout.site_port(node_id)):
                        probe = stack.enter_context(socket.socket())
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base_port
    raise RuntimeError("no free ports")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"), Layout(3, free_base_port()))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    program = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    if not program:
        pytest.skip("no Chromium: install it, or name one in the environment variable CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Makes pages of visitors that know nothing of each other; none may meet an error."""
    with ExitStack() as stack:
        complaints: list[str] = []

        def make(**options: Any) -> Any:
            context = chromium.new_context(
                **{"viewport": {"width": 1200, "height": 850}, **options}
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
            return page

        yield make
        assert complaints == []


@pytest.fixture(scope="session")
def picture() -> Callable[[Any, str], None]:
    """Saves a page's picture for people to look at."""
    ARTIFACTS.mkdir(exist_ok=True)

    def save(page: Any, name: str) -> None:
        page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    return save
