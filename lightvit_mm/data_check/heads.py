"""Heads for another number of classes than the data have."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from .findings import Finding, Kind
from .sources import type_name

NUM_CLASSES = Kind(
    'heads of another number of classes than the data',
    'Set it to the number of classes of the data; if it is right, the classes '
    'of the data set are not',
)

# Where num_classes counts something else: objects against background,
# classes of another data set or task, people, borders.
_OTHER_KEYS = ('rpn_head', 'semantic_head', 'task_heads', 'reid')
_OTHER_TYPES = ('STDCHead', 'LinearReIDHead')


def learns_classes(cfg: Config) -> bool:
    """Whether the model learns the classes of its data set.

    It does not if it takes them as text, or if it follows objects of some of
    them only.
    """
    model = cfg.get('model') or {}
    return 'language_model' not in model and 'tracker' not in model


def find_num_classes(cfg: Config) -> Iterator[tuple[str, int]]:
    """Where a config sets the number of classes of the data, and to what."""
    if not learns_classes(cfg):
        return
    for name in ('data_preprocessor', 'model'):
        yield from _find(cfg.get(name), name, counts=name != 'model')


def _find(node: Any, path: str, counts: bool) -> Iterator[tuple[str, int]]:
    """The same below a node; ``counts`` if its num_classes is that of data."""
    if isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _find(child, f'{path}[{i}]', counts)
    if not isinstance(node, Mapping) or type_name(node) in _OTHER_TYPES:
        return
    for key, child in node.items():
        if key == 'num_classes':
            # Some backbones are classifiers if it is above 0.
            if counts and child is not None and child > 0:
                yield f'{path}.{key}', child
        elif key not in _OTHER_KEYS:
            is_counting = key.endswith('head') or key in (
                'backbone',
                'data_preprocessor',
            )
            yield from _find(child, f'{path}.{key}', counts or is_counting)


def check_heads(cfg: Config, num_classes: int) -> Iterator[Finding]:
    """Heads for another number of classes than ``num_classes``."""
    for path, number in find_num_classes(cfg):
        if number != num_classes:
            yield Finding(
                NUM_CLASSES,
                cfg.filename,
                f'{path}={number}, the data have {num_classes}',
            )
