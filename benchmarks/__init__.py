"""Measures this against what a user would choose instead, side by side in one run."""
