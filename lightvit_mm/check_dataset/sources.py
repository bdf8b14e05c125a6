"""The datasets of a config, and what the checks read from them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import Registry
from mmengine.utils import is_abs

from ..config import datasets, reads_masks, type_name
from ..nested import walk
from .report import Finding, Kind

CLASS_IS_STRING = Kind(
    'classes given as a string',
    "A tuple of one class needs a comma: metainfo=dict(classes=('cat', ))",
)
NO_DATA_ROOT = Kind(
    'datasets whose data_root does not exist',
    'Set data_root to the folder of the data; a relative path starts in the '
    'current folder',
)


@dataclass(eq=False)
class Source:
    """A dataset of a config.

    Args:
        path: Its place in the config, such as train_dataloader.dataset.
        cls: Its class.
        cfg: Its config.
        splits: Which of train, val and test use it.
        metrics: Configs of the metrics that evaluate on it.
    """

    path: str
    cls: type
    cfg: ConfigDict
    splits: list[str] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)

    @property
    def transforms(self) -> list[dict]:
        """The transforms of its pipeline, as configs."""
        return self.cfg.get('pipeline') or []

    @property
    def name(self) -> str:
        """Its splits as text, such as 'val, test'."""
        return ', '.join(self.splits)

    @property
    def is_trained(self) -> bool:
        """Whether the training reads it."""
        return 'train' in self.splits

    @property
    def is_evaluated(self) -> bool:
        """Whether a metric evaluates on it."""
        return bool(self.metrics)

    @property
    def needs_masks(self) -> bool:
        """Whether the pipeline or a metric reads instance masks."""
        return reads_masks(self.transforms, self.metrics)

    @property
    def named_classes(self) -> Any:
        """The classes as the config gives them, None if it gives none."""
        metainfo = self.cfg.get('metainfo') or {}
        return metainfo.get('classes', self.cfg.get('classes'))

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names, None if only the data have them."""
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
        """A path of the dataset, below its data_root."""
        root = self.cfg.get('data_root') or ''
        return path if is_abs(path) else os.path.join(root, path)

    @property
    def file(self) -> str:
        """The file or folder to name in a finding about the whole dataset."""
        ann_file = self.cfg.get('ann_file')
        if ann_file:
            return self.join(ann_file)
        prefix = self.cfg.get('data_prefix') or ''
        if isinstance(prefix, dict):
            prefix = next(iter(prefix.values()), '')
        return self.join(prefix) or self.path

    def check_classes_type(self, config: str) -> Iterator[Finding]:
        """Find a name in place of a tuple of names; a file of names is fine."""
        classes = self.named_classes
        if isinstance(classes, str) and not os.path.isfile(classes):
            yield Finding(
                CLASS_IS_STRING, config, f'{self.path} has classes={classes!r}'
            )

    def check_data_root(self) -> Iterator[Finding]:
        """Find a data_root that does not exist."""
        root = self.cfg.get('data_root')
        # Other storage has a protocol, such as s3://.
        if root and '://' not in root and not os.path.isdir(root):
            yield Finding(NO_DATA_ROOT, root, f'data_root of {self.path}')


class Picture(NamedTuple):
    """An image of a dataset.

    Args:
        path: Its file.
        entry: How the dataset refers to it.
        size: Annotated width and height, if any.
        mask: File of its segmentation map, if any.
    """

    path: str
    entry: str
    size: tuple[int, int] | None = None
    mask: str | None = None


class Objects(NamedTuple):
    """What a dataset has annotated, one entry per object.

    An object is an instance, the label of an image, or all pixels of a label
    in a segmentation map.

    Args:
        image: Index (N, ) of its image.
        label: Index (N, ) of its class; that of ignored pixels is no class.
        area: Number of pixels (N, ); NaN for the label of an image.
    """

    image: np.ndarray
    label: np.ndarray
    area: np.ndarray


@dataclass
class Content:
    """The entries of a dataset.

    Args:
        pictures: The images that are files.
        num_images: Number of images before filter_cfg.
        num_kept: Number of images after filter_cfg.
        num_annotations: Number of boxes, labels or segmentation maps.
        classes: Class names, None if there are none.
        num_classes: Number of classes in the data.
        objects: What is annotated, None if it cannot be counted.
        sizes: Width and height of the images that are known.
        image_reader: How to read its images.
        map_reader: How to read its segmentation maps.
    """

    pictures: list[Picture]
    num_images: int
    num_kept: int
    num_annotations: int
    classes: tuple[str, ...] | None
    num_classes: int | None
    objects: Objects | None = None
    sizes: list[tuple[int, int]] = field(default_factory=list)
    image_reader: Callable[[str], Any] | None = None
    map_reader: Callable[[str], Any] | None = None

    @property
    def has_maps(self) -> bool:
        """Whether segmentation maps hold its classes."""
        return any(picture.mask is not None for picture in self.pictures)


def find_sources(cfg: Config, registry: Registry) -> list[Source]:
    """The datasets of all splits; equal ones are merged.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        registry: Registry with the classes of the datasets.

    Raises:
        ValueError: If a class is not registered.
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
            f'{path}.type={cfg.type!r} is not a dataset of {registry.scope}: '
            'add its module to custom_imports'
        )
    return cls


def _metrics(cfg: Config, split: str) -> list[dict]:
    evaluator = cfg.get(f'{split}_evaluator') or []
    return list(evaluator) if isinstance(evaluator, list) else [evaluator]
