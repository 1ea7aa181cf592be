"""Checks, commands and the admin page: what an operator meets."""
