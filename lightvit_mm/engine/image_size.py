"""The option ``image_size``: one size of images for train, val and test."""

from collections.abc import Callable, Iterator
from typing import Any

from mmengine.config import Config

from ..config import datasets
from ..nested import walk

# Options of transforms and data preprocessors. Those in pixels are integers;
# fractions, as in RandomCrop's relative_range, are floats.
_KEYS = (
    'scale',
    'scales',
    'img_scale',
    'size',
    'crop_size',
    'stride',
    'random_size_range',
)

_MIN_SIZE = 32


def set_image_size(cfg: Config, image_size: int) -> None:
    """Resize the images of all pipelines of a config, in place.

    All sizes in pixels are multiplied by one factor, so that augmentations stay
    in proportion. Afterwards the smallest size in the test pipeline is
    ``image_size``: the shorter side for detection and segmentation, the crop for
    classification.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        image_size: Pixels.

    Raises:
        ValueError: If it is not an integer of at least 32, or the test pipeline has
            no size in pixels.
    """
    if type(image_size) is not int or image_size < 1:
        raise ValueError(
            f'image_size={image_size!r} should be a positive number of pixels, '
            'such as 640'
        )
    if image_size < _MIN_SIZE:
        raise ValueError(
            f'image_size={image_size} should be at least {_MIN_SIZE} pixels, because '
            f'the last stage of a backbone divides it by {_MIN_SIZE}'
        )
    now = _size(cfg, 'test')
    if now is None and _size(cfg, 'val') == image_size:
        # mmdet's analyze_results takes a config that has its sizes, lets test only
        # load images, and builds the runner.
        return
    if now is None:
        raise ValueError(
            'image_size cannot be applied: no transform of '
            'test_dataloader.dataset.pipeline has a size in pixels. Set the sizes '
            'in the pipelines instead'
        )
    for options in _options(cfg):
        for key in _KEYS:
            if key in options:
                options[key] = _map(
                    options[key], lambda pixels: round(pixels * image_size / now)
                )


def _size(cfg: Config, split: str) -> int | None:
    """The smallest size in the pipelines of a split, None if there is none."""
    sizes: list[int] = []
    for slot in datasets(cfg):
        if slot.split == split:
            for transform in walk(slot.cfg.pipeline):
                for key in _KEYS:
                    _map(transform.get(key), sizes.append)
    return min(sizes, default=None)


def _options(cfg: Config) -> Iterator[dict]:
    """The options of all transforms and preprocessors, each dict once."""
    roots = [cfg.model.get('test_cfg')]  # it has the windows of a segmentor
    for node in walk(dict(cfg.items())):
        roots += [
            value
            for key, value in node.items()
            if 'pipeline' in key or key == 'data_preprocessor'
        ]
    # Configs may share dicts, such as the pipelines of val and test.
    yield from {id(node): node for node in walk(roots)}.values()


def _map(value: Any, function: Callable[[int], Any]) -> Any:
    """Apply a function to the positive integers of nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        return type(value)(_map(item, function) for item in value)
    is_pixels = type(value) is int and value > 0
    return function(value) if is_pixels else value
