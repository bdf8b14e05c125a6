"""All tests of this folder run PyTorch on one thread."""

import pytest


@pytest.fixture(autouse=True)
def always_one_thread(one_thread):
    """Applies the fixture to each test."""
