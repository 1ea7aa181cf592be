"""The key-value store, as programs and people use it."""

from __future__ import annotations

from typing import Any

from django.test import Client, TestCase

from demo_site.booking.kv import KEY_LENGTH_MAX, VALUE_BYTES_MAX
from demo_site.booking.models import Pair


class EndpointTests(TestCase):
    def setUp(self) -> None:
        self.client = Client(enforce_csrf_checks=True)

    def write(self, key: str, value: bytes, **more: Any) -> Any:
        return self.client.post(f"/kv/{key}", value, content_type="text/plain", **more)

    def test_write_and_read(self) -> None:
        assert self.write("greeting", b"hello").status_code == 200
        response = self.client.get("/kv/greeting")
        assert response.content == b"hello"
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"

    def test_last_write_wins(self) -> None:
        self.write("a", b"1")
        self.client.put("/kv/a", b"2")
        assert Pair.objects.get().value == "2"

    def test_curl_form_data_is_a_plain_value(self) -> None:
        """`curl -d` calls its body a form, whatever is in it."""
        kind = "application/x-www-form-urlencoded"
        self.client.post("/kv/a", b"x=1&y", content_type=kind)
        assert self.client.get("/kv/a").content == b"x=1&y"

    def test_json_for_who_asks(self) -> None:
        self.write("a", "ü".encode())
        asked = {"Accept": "application/json"}
        assert self.client.get("/kv/a", headers=asked).json() == {"key": "a", "value": "ü"}
        assert "detail" in self.client.get("/kv/b", headers=asked).json()

    def test_delete(self) -> None:
        self.write("a", b"1")
        assert self.client.delete("/kv/a").status_code == 204
        assert self.client.delete("/kv/a").status_code == 404
        assert self.client.get("/kv/a").status_code == 404

    def test_keys_with_slashes_and_letters_of_all_kinds(self) -> None:
        for key in ("a/b/c", "é ü", "日本"):
            self.write(key, key.encode())
            assert self.client.get(f"/kv/{key}").content.decode() == key

    def test_empty_value(self) -> None:
        self.write("a", b"")
        assert self.client.get("/kv/a").status_code == 200

    def test_refusals(self) -> None:
        assert self.write("a", b"x" * (VALUE_BYTES_MAX + 1)).status_code == 413
        assert self.write("a", b"\xff").status_code == 400
        assert self.write("a", b"\x00").status_code == 400
        assert self.write("k" * (KEY_LENGTH_MAX + 1), b"x").status_code == 400
        assert self.client.patch("/kv/a", b"x").status_code == 405
        assert not Pair.objects.exists()


class PageTests(TestCase):
    def test_write_and_search(self) -> None:
        for value in ("first", "second"):
            response = self.client.post("/kv/", {"key": "k<1>", "value": value}, follow=True)
            assert "k&lt;1&gt; is written." in response.content.decode()
        assert Pair.objects.get().value == "second"
        assert "second" in self.client.get("/kv/?q=SEC").content.decode()
        assert "Nothing found" in self.client.get("/kv/?q=first").content.decode()

    def test_key_is_needed(self) -> None:
        assert "errorlist" in self.client.post("/kv/", {"value": "x"}).content.decode()
