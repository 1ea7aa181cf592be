"""The Django project that every system runs."""
