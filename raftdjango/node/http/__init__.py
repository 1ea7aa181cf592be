"""The raftnode's HTTP server."""
