"""The demo in a real browser: what is done on one node shows on the others."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

NODES = ("n1", "n2", "n3")
NewPage = Callable[..., Any]
Picture = Callable[[Any, str], None]


def log_in(page: Any, demo: Demo, node_id: str = "n1") -> None:
    page.goto(demo.url(node_id, "login/"))
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", "admin")
    page.click("main button")
    page.wait_for_selector("text=Log out admin")


def until_shown(page: Any, url: str, selector: str) -> None:
    """Load a page until it has something: another node may be a moment behind."""
    for _ in range(100):
        page.goto(url)
        if page.locator(selector).count():
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{selector} never showed at {url}")


def test_list_and_footer_on_every_node(demo: Demo, new_page: NewPage, picture: Picture) -> None:
    page = new_page()
    leaders = set()
    for node_id in NODES:
        response = page.goto(demo.url(node_id))
        assert response.headers["x-raft-node"] == node_id
        assert page.locator(".card").count() == 24
        assert page.inner_text("[data-node]") == node_id
        assert int(page.inner_text("[data-applied]").replace(",", "")) > 0
        leaders.add(page.inner_text("[data-leader]"))
    assert len(leaders) == 1
    assert leaders <= set(NODES)
    picture(page, "events")


def test_search(demo: Demo, new_page: NewPage, picture: Picture) -> None:
    page = new_page()
    page.goto(demo.url("n2"))
    page.fill("[name=q]", "cello")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=for “cello”")
    assert set(page.locator(".card .title").all_inner_texts()) == {"One Room, One Cello"}
    page.click("nav >> text=Cities")
    page.fill("[name=q]", "sao pau")
    page.click("main button")
    page.click("text=São Paulo")
    page.wait_for_selector("h1:has-text('São Paulo')")
    picture(page, "city")


def test_book_on_one_node_and_see_it_on_the_others(
    demo: Demo, new_page: NewPage, picture: Picture
) -> None:
    page, visitor = new_page(), new_page()
    log_in(page, demo)
    picture(page, "signed-in")
    page.goto(demo.url("n1", "?q=owls"))
    page.click(".card >> nth=0")
    path = page.url.removeprefix(demo.url("n1"))
    free = page.locator(".plan input")
    numbers = [free.nth(i).get_attribute("value") for i in (0, 1)]
    for number in numbers:
        page.check(f".plan input[value='{number}']", force=True)
    picture(page, "seats")
    page.click("text=Book the seats picked")
    page.wait_for_selector(f"text=Yours: seats {numbers[0]}, {numbers[1]} of")
    picture(page, "bookings")
    for node_id in ("n2", "n3"):
        taken = f".plan .seat.taken:has-text('{numbers[1]}')"
        until_shown(visitor, demo.url(node_id, path), taken)
        until_shown(page, demo.url(node_id, path), f".plan .seat.mine:has-text('{numbers[1]}')")
    page.goto(demo.url("n3", "bookings/"))
    before = page.locator("tbody tr").count()
    page.click("tbody tr >> nth=0 >> text=Cancel")
    page.wait_for_selector("text=is free again")
    assert page.locator("tbody tr").count() == before - 1


def test_account_made_on_one_node_serves_another(
    demo: Demo, new_page: NewPage, picture: Picture
) -> None:
    page = new_page()
    page.goto(demo.url("n2", "sign-up/"))
    picture(page, "sign-up")
    page.fill("[name=username]", "visitor")
    for field in ("password1", "password2"):
        page.fill(f"[name={field}]", "correct horse battery")
    page.click("main button")
    page.wait_for_selector("text=Log out visitor")
    until_shown(page, demo.url("n3", "bookings/"), "text=You have no seats yet.")


def test_key_value(demo: Demo, new_page: NewPage, picture: Picture) -> None:
    page = new_page()
    page.goto(demo.url("n1", "kv/"))
    page.fill("[name=key]", "greeting")
    page.fill("[name=value]", "hello from n1")
    page.click("button:has-text('Write')")
    page.wait_for_selector("text=greeting is written.")
    picture(page, "key-value")
    until_shown(page, demo.url("n3", "kv/"), "td:has-text('hello from n1')")
    with urllib.request.urlopen(demo.url("n3", "kv/greeting"), timeout=30) as response:
        assert response.read() == b"hello from n1"
    write = urllib.request.Request(demo.url("n2", "kv/greeting"), b"hello from n2", method="POST")
    with urllib.request.urlopen(write, timeout=30) as response:
        assert response.status == 200
    until_shown(page, demo.url("n1", "kv/"), "td:has-text('hello from n2')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cluster_page(demo: Demo, new_page: NewPage, picture: Picture, scheme: str) -> None:
    status = json.loads(demo.command("raftctl", "status", "--json"))
    page = new_page(color_scheme=scheme)
    log_in(page, demo, node_id=status["leader"])
    page.click("nav >> text=Admin")
    page.click("#content-main tbody a[href$='/raftdjango/cluster/']")
    page.wait_for_selector(".raft-health")
    page.wait_for_load_state()
    assert page.locator("#content-main tbody th").all_inner_texts()[0].startswith("n1")
    assert page.locator(".raft-health").all_inner_texts() == ["in step"] * 3
    assert page.locator("td:text-is('leader')").count() == 1
    assert "not compacted" in page.inner_text("#content-main")
    picture(page, f"cluster-{scheme}")


def test_admin_edits_show_on_another_node(demo: Demo, new_page: NewPage) -> None:
    page = new_page()
    log_in(page, demo, node_id="n3")
    page.goto(demo.url("n3", "admin/booking/pair/add/"))
    page.fill("[name=key]", "from-admin")
    page.fill("[name=value]", "written in the admin")
    page.click("[name=_save]")
    page.wait_for_selector(".messagelist .success")
    until_shown(page, demo.url("n1", "kv/"), "td:has-text('written in the admin')")


@pytest.mark.parametrize("path", ["", "cities/?q=san", "kv/", "login/", "bookings/"])
def test_nothing_is_cut_off_on_a_phone(
    demo: Demo, new_page: NewPage, picture: Picture, path: str
) -> None:
    page = new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    if path == "bookings/":
        log_in(page, demo)
    page.goto(demo.url("n1", path))
    overflow = "document.documentElement.scrollWidth - window.innerWidth"
    assert page.evaluate(overflow) <= 0
    picture(page, f"phone-{re.sub('[^a-z]+', '-', path).strip('-') or 'events'}")


def test_raftctl_reads_well_on_every_node(demo: Demo) -> None:
    for node_id in NODES:
        text = demo.command("raftctl", "status", node_id=node_id)
        assert f"asked {node_id}, " in text
        for other in NODES:
            assert re.search(rf"^\*?\s+{other}\s+http://127\.0\.0\.1:", text, re.MULTILINE)


def test_stopped_and_started_it_goes_on_with_its_data(demo: Demo, new_page: NewPage) -> None:
    write = urllib.request.Request(demo.url("n1", "kv/kept"), b"still here", method="PUT")
    urllib.request.urlopen(write, timeout=30).close()
    assert "Stopped." in demo.stop()
    assert "3 nodes up" in demo.start()
    page = new_page()
    until_shown(page, demo.url("n2", "kv/"), "td:has-text('still here')")
    assert page.inner_text("[data-node]") == "n2"
