"""The Django project that the real clusters of the tests run."""
