"""What the tests of the command line share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _log_as_before(quiet_log: None) -> None:
    """Also for tests that do not use ``cli``."""
