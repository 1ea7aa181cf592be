"""The cluster's page in the admin."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, TestCase
from django.urls import reverse

from tests.operator.fakes import FOLLOWER_STATUS, LEADER_STATUS, TOLD_STATUS, raftnode_says

PAGE = "admin:raftdjango_cluster_changelist"


@pytest.fixture(autouse=True)
def _other_alias_answers_too() -> Any:
    """The page shows every replicated database; these tests look at the first."""
    with raftnode_says(FOLLOWER_STATUS, alias="other"):
        yield


class ClusterPageTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.admin = User.objects.create_superuser("admin")
        cls.staff = User.objects.create_user("staff", is_staff=True)

    def page(self, status: dict[str, Any] | None, user: User | None = None) -> str:
        client = Client()
        client.force_login(user or self.admin)
        with raftnode_says(status):
            response = client.get(reverse(PAGE))
        assert response.status_code == 200
        return response.content.decode()

    def first_group(self, status: dict[str, Any] | None) -> str:
        """The page's part about `default`, tags removed."""
        section = self.page(status).split("<section")[1]
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", section))

    def test_facts(self) -> None:
        text = self.first_group(LEADER_STATUS)
        for fact in (
            "Leader n1",
            "Term 7",
            "Commit index 123456",
            "Applied index 123450",
            "Log 3.0 MB (32.0 MB on disk)",
            "n1 this machine in step leader http://127.0.0.1:7001",
            "n2 behind follower http://127.0.0.1:7002 120000 3456 40 ms ago",
            "n3 does not answer follower",
            "65 seconds ago",
            "The log is not compacted in this version",
            "Cluster 5f0c7d1e9a",
        ):
            assert fact in text, fact

    def test_colour_is_never_alone(self) -> None:
        html = self.page(LEADER_STATUS)
        found = re.findall(r'class="raft-health raft-(\w+)">([^<]+)<', html)
        assert found[:3] == [
            ("good", "in step"),
            ("behind", "behind"),
            ("silent", "does not answer"),
        ]

    def test_follower_says_who_knows_more(self) -> None:
        text = self.first_group(FOLLOWER_STATUS)
        assert "n3 not known here" in text
        assert "Only the leader, n1, hears from every node." in text

    def test_follower_shows_what_its_leader_said(self) -> None:
        text = self.first_group(TOLD_STATUS)
        assert "n3 in step follower http://127.0.0.1:7003 100 0 4 seconds ago" in text
        assert "what n1 said 4 seconds ago." in text

    def test_member_that_a_new_leader_has_not_heard_of(self) -> None:
        unheard = {"role": None, "match_index": None, "lag": None, "last_contact_ms": None}
        rows = [*LEADER_STATUS["members"][:2], {**LEADER_STATUS["members"][2], **unheard}]
        text = self.first_group({**LEADER_STATUS, "members": rows})
        shown = r"n3 not heard since the election \W http://127.0.0.1:7003 \W \W \W "
        assert re.search(shown, text)

    def test_no_leader(self) -> None:
        text = self.first_group({**LEADER_STATUS, "leader": None})
        assert "no leader at the moment" in text

    def test_unreachable_raftnode_says_what_to_do(self) -> None:
        text = self.first_group(None)
        assert "/x/node.sock" in text
        assert "manage.py raftnode" in text
        assert "Nothing was written" not in text

    def test_one_unreachable_raftnode_does_not_hide_the_other_database(self) -> None:
        assert "group other" in self.page(None)
        assert "raft-health" in self.page(None)

    def test_names_are_escaped(self) -> None:
        rows = [{**LEADER_STATUS["members"][0], "address": "http://<b>"}]
        html = self.page({**LEADER_STATUS, "members": rows, "not_ready_reason": "<script>"})
        assert "<b>" not in html
        assert "&lt;script&gt;" in html

    def test_nothing_inline(self) -> None:
        """A strict content security policy forbids all of these."""
        main = self.page(LEADER_STATUS).split('id="content-main"')[1]
        assert "<script" not in main
        assert "<style" not in main
        assert not re.search(r"\s(style|on\w+)=", main)

    def test_nonce_is_passed_on(self) -> None:
        from django.template.loader import render_to_string

        context = {"groups": [], "csp_nonce": "abc", "opts": _options()}
        html = render_to_string("admin/raftdjango/cluster.html", context)
        assert 'cluster.css" nonce="abc">' in html

    def test_permission(self) -> None:
        client = Client()
        assert client.get(reverse(PAGE)).status_code == 302
        client.force_login(self.staff)
        assert client.get(reverse(PAGE)).status_code == 403
        assert "raftdjango/cluster" not in client.get(reverse("admin:index")).content.decode()
        self.staff.user_permissions.add(Permission.objects.get(codename="view_cluster"))
        client.force_login(User.objects.get(pk=self.staff.pk))
        with raftnode_says(LEADER_STATUS):
            assert client.get(reverse(PAGE)).status_code == 200
        assert "raftdjango/cluster" in client.get(reverse("admin:index")).content.decode()

    def test_there_is_no_page_of_a_single_object(self) -> None:
        client = Client()
        client.force_login(self.admin)
        assert client.get(f"{reverse(PAGE)}1/change/").status_code == 404
        assert client.get(f"{reverse(PAGE)}add/").status_code == 404


def _options() -> Any:
    from raftdjango.models import Cluster

    return Cluster._meta
