"""Where the demo's nodes live: folders, ports and how many; read by the settings and by `demo`.

One folder holds everything, so that forgetting the demo is removing it:

    .demo/demo.json         how many nodes, from which port
    .demo/n1/db.sqlite3     what node n1 has stored
    .demo/n1/raft/          its log and its socket
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from raftdjango.conf import NODE_ID_VARIABLE

BASE_DIR = Path(__file__).resolve().parent.parent
FOLDER_VARIABLE = "DEMO_FOLDER"
NODES_VARIABLE = "DEMO_NODES"
BASE_PORT_VARIABLE = "DEMO_BASE_PORT"
SITE_PORT_OFFSET = 1000


@dataclass(frozen=True)
class Layout:
    """The shape of one demo cluster."""

    nodes: int = 3
    base_port: int = 7000

    @property
    def node_ids(self) -> list[str]:
        """`n1`, `n2`, ..."""
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    def raft_port(self, node_id: str) -> int:
        """Port of a node's raftnode."""
        return self.base_port + int(node_id.removeprefix("n"))

    def site_port(self, node_id: str) -> int:
        """Port of a node's web site."""
        return self.raft_port(node_id) + SITE_PORT_OFFSET

    def raft_url(self, node_id: str) -> str:
        """Address of a node's raftnode."""
        return f"http://127.0.0.1:{self.raft_port(node_id)}"

    def site_url(self, node_id: str) -> str:
        """Address of a node's web site."""
        return f"http://127.0.0.1:{self.site_port(node_id)}/"


def manage_command(arguments: str, *, node_id: str = "") -> str:
    """A `manage.py` command as it can be pasted into another terminal, in the project's folder."""
    python = Path(sys.executable)
    shown = python.relative_to(BASE_DIR) if python.is_relative_to(BASE_DIR) else python
    folder = os.environ.get(FOLDER_VARIABLE)
    variables = [
        f"{NODE_ID_VARIABLE}={node_id} " if node_id else "",
        f"{FOLDER_VARIABLE}={shlex.quote(folder)} " if folder else "",
    ]
    return f"{''.join(variables)}{shown} manage.py {arguments}"


def demo_folder() -> Path:
    """`DEMO_FOLDER`, or `.demo` beside manage.py."""
    return Path(os.environ.get(FOLDER_VARIABLE) or BASE_DIR / ".demo").absolute()


def saved_layout(folder: Path) -> Layout | None:
    """The layout that the data in `folder` was made with; None where there is none."""
    try:
        saved = json.loads((folder / "demo.json").read_text())
        return Layout(nodes=int(saved["nodes"]), base_port=int(saved["base_port"]))
    except FileNotFoundError:
        return None


def save_layout(folder: Path, layout: Layout) -> None:
    """Remember the layout with the data, whose log holds the nodes' addresses."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.json").write_text(json.dumps(asdict(layout)))


def current_layout() -> Layout:
    """What the environment says, else what the existing data says, else three nodes from 7001."""
    saved = saved_layout(demo_folder()) or Layout()
    return Layout(
        nodes=int(os.environ.get(NODES_VARIABLE) or saved.nodes),
        base_port=int(os.environ.get(BASE_PORT_VARIABLE) or saved.base_port),
    )
