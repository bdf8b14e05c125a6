"""The data sets of a config, without their wrappers."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import Registry
from mmengine.utils import is_abs

from ..config import datasets, type_name, walk
from .report import Finding, Kind

CLASS_IS_STRING = Kind(
    'classes given as a string',
    "One class needs a comma to be a tuple: metainfo=dict(classes=('cat', ))",
)


@dataclass(eq=False)
class Source:
    """A data set of a config.

    Args:
        path: Where the config has it, as train_dataloader.dataset.
        cls: Its class.
        cfg: Its config.
        splits: For which of train, val and test it is used.
        metrics: Configs of the metrics that evaluate on it.
    """

    path: str
    cls: type
    cfg: ConfigDict
    splits: list[str] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)

    @property
    def transforms(self) -> list[dict]:
        return self.cfg.get('pipeline') or []

    @property
    def name(self) -> str:
        return ', '.join(self.splits)

    @property
    def is_trained(self) -> bool:
        return 'train' in self.splits

    @property
    def is_evaluated(self) -> bool:
        return bool(self.metrics)

    @property
    def needs_masks(self) -> bool:
        """Whether the pipeline or a metric reads masks of instances."""
        return any(t.get('with_mask') for t in walk(self.transforms)) or any(
            'segm' in (m.get('metric') or ()) for m in self.metrics
        )

    @property
    def named_classes(self) -> Any:
        """What the config gives as classes, None if it gives none."""
        metainfo = self.cfg.get('metainfo') or {}
        return metainfo.get('classes', self.cfg.get('classes'))

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, None if only the data tell."""
        classes = self.named_classes
        if classes is None:
            classes = self.cls.METAINFO.get('classes')
        elif isinstance(classes, str):
            is_file = os.path.isfile(classes)
            classes = list_from_file(classes) if is_file else [classes]
        return None if classes is None else tuple(classes)

    def loader(self) -> dict:
        """The transform that reads the image, {} if there is none."""
        for transform in walk(self.transforms):
            if type_name(transform).startswith('LoadImage'):
                return transform
        return {}

    def join(self, path: str) -> str:
        """A path of the data set, below its data_root."""
        root = self.cfg.get('data_root') or ''
        return path if is_abs(path) else os.path.join(root, path)

    @property
    def file(self) -> str:
        """What to name in a finding about the whole data set."""
        ann_file = self.cfg.get('ann_file')
        if ann_file:
            return self.join(ann_file)
        prefix = self.cfg.get('data_prefix') or ''
        if isinstance(prefix, dict):
            prefix = next(iter(prefix.values()), '')
        return self.join(prefix) or self.path

    def check_classes_type(self, config: str) -> Iterator[Finding]:
        """A name where a tuple of names belongs; a file of names is fine."""
        classes = self.named_classes
        if isinstance(classes, str) and not os.path.isfile(classes):
            yield Finding(
                CLASS_IS_STRING, config, f'{self.path} has classes={classes!r}'
            )


def find_sources(cfg: Config, registry: Registry) -> list[Source]:
    """The data sets of all splits; equal ones are one.

    Args:
        cfg: Config of any of the three libraries.
        registry: Where the classes of the data sets are found.

    Raises:
        ValueError: If there is no such class.
    """
    sources: list[Source] = []
    for split, path, leaf in datasets(cfg):
        source = next((x for x in sources if x.cfg == leaf), None)
        if source is None:
            source = Source(path, _class(leaf, path, registry), leaf)
            sources.append(source)
        if split not in source.splits:
            source.splits.append(split)
        source.metrics += _metrics(cfg, split)
    return sources


def _class(cfg: ConfigDict, path: str, registry: Registry) -> type:
    cls = registry.get(cfg.type) if isinstance(cfg.type, str) else cfg.type
    if cls is None:
        raise ValueError(
            f'{path}.type={cfg.type!r} is not a data set of '
            f'{registry.scope}: is its module in custom_imports?'
        )
    return cls


def _metrics(cfg: Config, split: str) -> list[dict]:
    evaluator = cfg.get(f'{split}_evaluator') or []
    return list(evaluator) if isinstance(evaluator, list) else [evaluator]
