"""Django's own test suite, run on the replicated backend: `python -m tests.django_suite`."""
