"""URLconf of the raftnode's own server; a project's URLconf does not include it."""

from __future__ import annotations

from django.urls import path

from raftdjango.api import views

urlpatterns = [
    path("raft/v1/health/live", views.LiveView.as_view(), name="live"),
    path("raft/v1/health/ready", views.ReadyView.as_view(), name="ready"),
    path("raft/v1/metrics", views.MetricsView.as_view(), name="metrics"),
    path("raft/v1/<str:group>/messages", views.MessagesView.as_view(), name="messages"),
    path("raft/v1/<str:group>/status", views.StatusView.as_view(), name="status"),
]
