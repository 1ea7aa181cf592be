"""Generate the protobuf modules beside their schemas: `python -m tests.protobuf [--check]`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("raftcore", "raftdjango")


def schemas() -> list[Path]:
    """Every schema, relative to the repository."""
    return sorted(p.relative_to(ROOT) for name in PACKAGES for p in (ROOT / name).rglob("*.proto"))


def generate(target: Path) -> list[Path]:
    """Generate into `target`; the files made, relative to it."""
    names = [str(path) for path in schemas()]
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *("-I", str(ROOT), f"--python_out={target}", f"--pyi_out={target}"),
            *names,
        ],
        cwd=ROOT,
        check=True,
    )
    suffixes = ("_pb2.py", "_pb2.pyi")
    return [p.with_name(p.stem + suffix) for p in schemas() for suffix in suffixes]


def stale() -> list[Path]:
    """Generated files that differ from what their schema would give."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        return [
            path
            for path in made
            if not (ROOT / path).exists()
            or (ROOT / path).read_bytes() != (Path(folder) / path).read_bytes()
        ]


def main() -> None:
    if "--check" in sys.argv[1:]:
        if paths := stale():
            sys.exit(f"Not fresh: {', '.join(map(str, paths))}. Run: make proto")
    else:
        generate(ROOT)


if __name__ == "__main__":
    main()
