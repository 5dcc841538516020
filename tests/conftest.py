"""No property fails for want of speed, as machines may be slow; tests that wait, and long ones, run first."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real daemons spend their time waiting, and no two workers share a file: begun first, they leave no worker
    alone with a long one at the end.
    """
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("e2e", "long")])
