"""Walks nested settings."""

from collections.abc import Iterator
from typing import Any


def walk(node: Any) -> Iterator[dict]:
    """All dicts in nested dicts, lists and tuples."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from walk(child)
