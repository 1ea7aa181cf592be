"""Source distributions of PyPI, which have tests that what is installed has not.

pip fetches them into a cache outside the repository when they are missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "raftdjango"


def sources(name: str, versions: str) -> Path:
    """The extracted folder; of several versions that are there, the newest."""
    prefix = f"{name.lower()}-"
    wanted = SpecifierSet(versions)
    cached = {Version(folder.name.removeprefix(prefix)): folder for folder in _folders(prefix)}
    if fitting := [version for version in cached if version in wanted]:
        return cached[max(fitting)]
    return _fetch(name, versions)


def installed(folder: Path) -> Path:
    """Where the package of such a folder is installed, without others; some ask for their metadata."""
    target = CACHE / "installed" / folder.name
    if not target.exists():
        _pip("install", "--no-deps", "--target", str(target), str(folder))
    return target


def _folders(prefix: str) -> list[Path]:
    return [folder for folder in CACHE.glob(f"{prefix}[0-9]*") if folder.is_dir()]


def _fetch(name: str, versions: str) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    # Moved when it is whole: others may look, or fetch the same.
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        only_sources = ["--no-deps", "--no-binary", ":all:"]
        _pip("download", *only_sources, "--dest", temporary, f"{name}{versions}")
        (archive,) = Path(temporary).glob("*.tar.gz")
        with tarfile.open(archive) as file:
            file.extractall(temporary, filter="data")
        extracted = Path(temporary) / archive.name.removesuffix(".tar.gz")
        folder = CACHE / f"{name.lower()}-{extracted.name.rpartition('-')[2]}"
        if not folder.exists():
            extracted.rename(folder)
    return folder


def _pip(command: str, *arguments: str) -> None:
    """Run pip with the present Python; what it prints is of interest where it fails."""
    called = [sys.executable, "-m", "pip", command, "--quiet", *arguments]
    done = subprocess.run(called, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(called)} failed:\n{done.stdout}{done.stderr}")
