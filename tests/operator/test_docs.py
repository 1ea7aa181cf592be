"""The reference names all that there is, and nothing that there is not."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from raftdjango import conf, exceptions
from raftdjango.api.urls import urlpatterns

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def sections(page: str, level: str = "###") -> dict[str, str]:
    """Text below each heading that is one name in backticks, by the name."""
    parts = re.split(rf"^{level} `([^`]+)`$", (DOCS / page).read_text(), flags=re.MULTILINE)
    names, texts = parts[1::2], parts[2::2]
    assert len(names) == len(set(names))
    return dict(zip(names, texts, strict=True))


def test_every_setting() -> None:
    assert sorted(sections("ref/settings.md")) == sorted(conf.KEYS)


def test_defaults_of_settings() -> None:
    found = sections("ref/settings.md")
    for field in fields(conf.Settings):
        if isinstance(field.default, int | float):
            assert f"Default `{field.default}`" in found[field.name.upper()], field.name


def test_checks_that_settings_name_exist_and_name_them() -> None:
    checks = (DOCS / "ref/checks.md").read_text()
    named = set(re.findall(r"\b[EW]0\d\d\b", (DOCS / "ref/settings.md").read_text()))
    assert len(named) > 20
    assert named <= set(re.findall(r"^### raftdjango\.(\w+)$", checks, re.MULTILINE))


def test_every_exception() -> None:
    known = {
        name
        for name, kind in inspect.getmembers(exceptions, inspect.isclass)
        if kind.__module__ == exceptions.__name__
    }
    assert set(sections("ref/exceptions.md")) == known


def test_every_command() -> None:
    ours = {p.stem for p in (ROOT / "raftdjango/management/commands").glob("[a-z]*.py")}
    assert set(sections("ref/commands.md", "##")) == ours | {"dbshell"}
    text = (DOCS / "ref/commands.md").read_text()
    for path in (ROOT / "demo_site/booking/management/commands").glob("[a-z]*.py"):
        assert f"| `{path.stem}` |" in text


def test_every_url() -> None:
    served = {"/" + str(each.pattern).replace("<str:group>", "<group>") for each in urlpatterns}
    named = {heading.partition(" ")[2] for heading in sections("ref/urls.md")}
    assert named == served


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be linked by, as code hosts make it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", (ROOT / "README.md").read_text()))
    assert {str(page.relative_to(ROOT)) for page in PAGES[1:]} == linked
