"""Third-party applications' own tests, on three nodes: `python -m tests.third_party`."""
