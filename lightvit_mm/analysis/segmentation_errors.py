"""Which classes and images a segmentor gets wrong."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from ..installed import check_installed


class Errors(NamedTuple):
    """What predicted masks get wrong; ignored pixels do not count.

    Args:
        classes: K names.
        confusion: Number of pixels (K, K) by true class (rows) and predicted
            class (columns).
        wrong: Share of wrong pixels in each image, the worst image first.
    """

    classes: tuple[str, ...]
    confusion: np.ndarray
    wrong: dict[str, float]


def count_errors(cfg: Config, folder: Path) -> Errors:
    """Compare predicted masks with those of the test dataset.

    Args:
        cfg: Complete config of mmseg.
        folder: A PNG per image, named like the image, with the class of each
            pixel, as mmseg's IoUMetric writes them to its ``output_dir``.

    Raises:
        ValueError: If the config is not one of mmseg, a mask has another size, or
            two images have the same name in different folders.
        FileNotFoundError: If a mask is missing.
    """
    if cfg.get('default_scope') != 'mmseg':
        raise ValueError(
            f'{cfg.filename} should be a config of mmseg, but its default_scope is '
            f'{cfg.get("default_scope")!r}'
        )
    check_installed('mmseg')
    with DATASETS.switch_scope_and_registry('mmseg') as registry:
        dataset = registry.build(cfg.test_dataloader.dataset)
        classes = tuple(dataset.metainfo['classes'])
        confusion = np.zeros((len(classes), len(classes)), int)
        wrong = {}
        owners: dict[str, str] = {}
        for sample in (item['data_samples'] for item in dataset):
            true = sample.gt_sem_seg.data[0].numpy().astype(int)
            image = Path(sample.img_path)
            other = owners.setdefault(image.stem, str(image))
            if other != str(image):
                raise ValueError(
                    f'{other} and {image} have one mask, {folder / image.stem}.png, '
                    'because mmseg names masks by the file alone: rename one of the '
                    'images and predict again'
                )
            predicted = _read_mask(folder / f'{image.stem}.png', true.shape)
            # mmseg writes the values of the annotation files.
            predicted = predicted - int(sample.get('reduce_zero_label', False))
            counts = true != dataset.ignore_index
            np.add.at(confusion, (true[counts], predicted[counts]), 1)
            if counts.any():
                wrong[str(image)] = (true != predicted)[counts].mean()
    worst = sorted(wrong, key=wrong.get, reverse=True)
    return Errors(classes, confusion, {path: wrong[path] for path in worst})


def _read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no {path}: predict the masks of the test dataset with '
            'tools/test.py --cfg-options test_evaluator.output_dir=FOLDER'
        )
    mask = np.array(Image.open(path))
    if mask.shape != shape:
        raise ValueError(
            f'{path} has {mask.shape[1]} x {mask.shape[0]} pixels, expected '
            f'{shape[1]} x {shape[0]}: predict it again with this config'
        )
    return mask
