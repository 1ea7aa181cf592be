"""What there was, and what stands for all of it."""

from __future__ import annotations

from tests.cluster.evolving import migrations

__path__ += migrations.__path__
