"""For tests: the consensus in the test's own process.

Django's test runner needs nothing of this by name: a test database of this package's `ENGINE` is
switched over when it is made.  `TEST = {"VERIFY": True}` in `DATABASES` has each write compared with
what the applier made of it.
"""

from __future__ import annotations
