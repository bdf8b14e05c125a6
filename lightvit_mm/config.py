"""Read configs; find their datasets and numbers of classes."""

import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config, ConfigDict

from .files import ROOT
from .installed import check_installed
from .messages import close_to
from .model_folder import ModelFolder, is_published, model_name
from .nested import walk

# The functions of mmengine that read one file.
_PARSERS = ('_is_lazy_import', '_file2dict', '_parse_lazy_import')

SPLITS = ('train', 'val', 'test')

# Where num_classes counts something else: objects and background, classes of
# another dataset or task, people, borders.
_OTHER_KEYS = ('rpn_head', 'semantic_head', 'task_heads')
_OTHER_TYPES = ('STDCHead', 'LinearReIDHead')


def read_config(name: str) -> Config:
    """Read a config.

    Args:
        name: A file, PACKAGE::CONFIG for a config of an installed package, or a
            published model: its folder or hf://OWNER/NAME.

    Raises:
        FileNotFoundError: If there is no such config.
        IsADirectoryError: If it is a folder.
        ModuleNotFoundError: If the package is not installed.
        CheckpointError: If a published model cannot be downloaded, or was changed.
        ValueError: If the file, or one that it inherits from, has an error.
    """
    if is_published(name):
        return ModelFolder(name).config()
    package, _, file = name.rpartition('::')
    folder = _config_folder(package) if package else Path()
    path = folder / file if package else Path(name)
    expected = (
        'Give a file, PACKAGE::CONFIG for a config of an installed package, or a '
        'folder that tools/publish.py wrote'
    )
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder. {expected}')
    if not path.is_file():
        if package:
            known = [
                f'{package}::{other.relative_to(folder)}'
                for other in folder.rglob('*.py')
            ]
        else:
            known = [str(other) for other in path.parent.glob('*.py')]
        raise FileNotFoundError(
            f'There is no config {name}{close_to(name, known)}. {expected}'
        )
    try:
        return Config.fromfile(path)
    except Exception as error:
        file, line = _place(error)
        # These already say what is missing, such as a base config.
        is_clear = isinstance(error, (OSError, ModuleNotFoundError)) and line is None
        # Without a file, the error is in a module of custom_imports.
        if is_clear or file is None:
            raise
        place = file if line is None else f'{file}, line {line}'
        if isinstance(error, RecursionError) and line is None:
            raise ValueError(
                f'{place} inherits from itself, directly or through its _base_'
            ) from error
        kind = '' if isinstance(error, SyntaxError) else f'{type(error).__name__}: '
        message = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f'{place}: {kind}{message}') from error


def config_name(name: str) -> str:
    """The name of a config or of a published model, without its folder and suffix.

    Args:
        name: As for :func:`read_config`.
    """
    if is_published(name):
        return model_name(name)
    return Path(name.rpartition('::')[2]).stem


def _place(error: Exception) -> tuple[str | None, int | None]:
    """File and line of an error, or None if it is not in a config."""
    file = line = None
    for frame, number in traceback.walk_tb(error.__traceback__):
        # mmengine parses configs without file names.
        if frame.f_code.co_name in _PARSERS:
            file = frame.f_locals['filename']
        elif frame.f_code.co_filename == file:
            line = number
    return file, error.lineno if isinstance(error, SyntaxError) else line


def _config_folder(package: str) -> Path:
    if package == __package__:
        return ROOT / 'configs'
    return mim_folder(package) / 'configs'


def mim_folder(package: str) -> Path:
    """The folder of an installed package's configs and tools.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    check_installed(package)
    return Path(find_spec(package).origin).parent / '.mim'


def type_name(cfg: dict) -> str:
    """Name of the class that a config builds, '' if it builds none."""
    kind = cfg.get('type', '')
    return getattr(kind, '__name__', str(kind).rpartition('.')[2])


def reads_masks(pipelines: Any, metrics: Iterable[dict]) -> bool:
    """Whether a transform or a metric of mmdet reads the masks of objects.

    Args:
        pipelines: Configs of transforms, nested as in a dataset.
        metrics: Configs of metrics.
    """
    return any(step.get('with_mask') for step in walk(pipelines)) or any(
        'segm' in (metric.get('metric') or ()) for metric in metrics
    )


class DatasetSlot(NamedTuple):
    """A dataset in a config.

    Args:
        split: 'train', 'val' or 'test'.
        path: Its place in the config, such as 'train_dataloader.dataset'.
        cfg: Its config.
    """

    split: str
    path: str
    cfg: ConfigDict


def datasets(cfg: Config) -> Iterator[DatasetSlot]:
    """The datasets of a config, without wrappers such as ConcatDataset."""
    for split in SPLITS:
        dataloader = cfg.get(f'{split}_dataloader')
        if dataloader:
            path = f'{split}_dataloader.dataset'
            for slot in _unwrap(path, dataloader.dataset):
                yield DatasetSlot(split, *slot)


def _unwrap(path: str, cfg: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    if 'dataset' in cfg:
        yield from _unwrap(f'{path}.dataset', cfg.dataset)
    elif 'datasets' in cfg:
        for i, dataset in enumerate(cfg.datasets):
            yield from _unwrap(f'{path}.datasets[{i}]', dataset)
    else:
        yield path, cfg


class ClassSlot(NamedTuple):
    """A ``num_classes`` that has to match the dataset.

    Args:
        path: Its place in the config, such as 'model.bbox_head.num_classes'.
        owner: The dict that holds it.
    """

    path: str
    owner: dict

    @property
    def num_classes(self) -> int:
        """Its value."""
        return self.owner['num_classes']


def class_slots(cfg: Config) -> Iterator[ClassSlot]:
    """Each ``num_classes`` of a config that has to match the dataset.

    Heads for other classes are left out: an RPN separates objects from the
    background, and HTC's semantic head learns the 183 classes of COCO-Stuff.
    """
    if learns_classes(cfg):
        yield from _class_slots(cfg.get('data_preprocessor'), 'data_preprocessor', True)
        yield from _class_slots(cfg.get('model'), 'model', False)


def _class_slots(node: Any, path: str, counts: bool) -> Iterator[ClassSlot]:
    """The slots below a node; ``counts``: its num_classes has to match."""
    if isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _class_slots(child, f'{path}[{i}]', counts)
    if not isinstance(node, Mapping) or type_name(node) in _OTHER_TYPES:
        return
    for key, child in node.items():
        if key == 'num_classes':
            # Some backbones classify only if it is above 0.
            if counts and child is not None and child > 0:
                yield ClassSlot(f'{path}.{key}', node)
        elif key not in _OTHER_KEYS:
            is_counting = key.endswith('head') or key in (
                'backbone',
                'data_preprocessor',
            )
            yield from _class_slots(child, f'{path}.{key}', counts or is_counting)


def learns_classes(cfg: Config) -> bool:
    """Whether the model learns the classes of its dataset.

    Models that take classes as text do not, nor do trackers, which follow
    objects of only some classes.
    """
    model = cfg.get('model') or {}
    return 'language_model' not in model and 'tracker' not in model


def set_num_classes(cfg: Config, num_classes: int) -> None:
    """Set each ``num_classes`` that has to match the dataset, in place."""
    for slot in list(class_slots(cfg)):
        slot.owner['num_classes'] = num_classes


def check_class_weights(cfg: Config) -> None:
    """Check that each loss of a classifying head has one weight per class.

    mmdet's softmax loss takes one more, for the background.

    Raises:
        ValueError: If a ``class_weight`` is too short or too long.
    """
    for slot in class_slots(cfg):
        # mmseg's SAN takes classes as text, and has a weight for the background.
        if type_name(slot.owner) == 'SideAdapterCLIPHead':
            continue
        place = slot.path.removesuffix('.num_classes')
        for key in ('loss', 'loss_cls', 'loss_decode'):
            for loss in walk(slot.owner.get(key)):
                weights = loss.get('class_weight')
                if not isinstance(weights, (list, tuple)):
                    continue
                background = key == 'loss_cls' and not loss.get('use_sigmoid')
                expected = slot.num_classes + background
                if len(weights) != expected:
                    raise ValueError(
                        f'{place}.{key} has {len(weights)} values in class_weight; '
                        f'expected {expected}: one for each of {slot.num_classes} '
                        'classes' + ' and one for the background' * background
                    )
