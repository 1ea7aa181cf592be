"""A release later: those that were replaced are gone, and what replaced them is a migration like any."""
