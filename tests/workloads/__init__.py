"""Clients on all nodes of a real cluster, and checkers that judge what they were told."""
