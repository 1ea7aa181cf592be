"""The cluster's page in the admin: read-only, the facts of `raftctl status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext_lazy as _

from raftdjango import status as cluster_status
from raftdjango.conf import get_settings, group_of, replicated_aliases
from raftdjango.models import Cluster, Member, State

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.urls import URLPattern

STATUS_TIMEOUT_S = 0.7
"""A page is better late than never, but not much later."""


@admin.register(Cluster)
class ClusterAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """No table stands behind it: the page asks this machine's raftnode."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Cluster | None = None) -> bool:
        """Never; membership is changed by raftctl."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Cluster | None = None) -> bool:
        """Never."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The page alone: the views of single objects would look for a table."""
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="raftdjango_cluster_changelist")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show each replicated database's cluster."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("Cluster"),
            "opts": self.model._meta,
            "groups": [_group(alias) for alias in replicated_aliases()],
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/raftdjango/cluster.html", context)


def _group(alias: str) -> dict[str, Any]:
    """What the page shows of one database."""
    shown: dict[str, Any] = {
        "alias": alias,
        "name": group_of(alias),
        "node": get_settings().node_id,
    }
    try:
        status = cluster_status.ask(alias, timeout_s=STATUS_TIMEOUT_S)
    except cluster_status.Unreachable as error:
        return {**shown, "problem": str(error), **_local(alias)}
    members = [
        {"is": member, "ago": cluster_status.ago(member.last_contact_ms)}
        for member in cluster_status.members(status)
    ]
    told = cluster_status.ago(cluster_status.told_ms(status))
    return {**shown, "status": status, "members": members, "told": told}


def _local(alias: str) -> dict[str, Any]:
    """What this machine's own database knows when nobody else answers."""
    try:
        return {
            "state": State.objects.using(alias).first(),
            "known": list(Member.objects.using(alias).order_by("node_id")),
        }
    except DatabaseError:  # nothing has been applied here yet, or the file cannot be opened
        return {}
