"""Configs as nested settings."""
from typing import Any, Dict, Iterator


def walk(node: Any) -> Iterator[Dict]:
    """All dicts of nested dicts, lists and tuples."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from walk(child)
