"""Draws training samples as the network sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from torch import Tensor

from ..config import type_name
from ..nested import walk

MIN_SIDE = 224  # pixels, so that the label of a class is readable


def draw_samples(cfg: Config, folder: Path, num_samples: int) -> list[Path]:
    """Draw samples after the pipeline and the data preprocessor.

    They are evenly spread over the training set. Normalisation is undone;
    padding and other changes of shape or colour stay.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg, with a training set.
        folder: Folder for the pictures; it is created if missing.
        num_samples: Number of samples; all if the set has fewer.

    Returns:
        The PNG files.

    Raises:
        ValueError: If there is no training set, or its samples are not images
            with boxes, segmentation maps or labels.
    """
    if num_samples < 1:
        raise ValueError(f'{num_samples} samples cannot be drawn: expected 1 or more')
    if not cfg.get('train_dataloader'):
        raise ValueError(
            f'{cfg.filename} has no train_dataloader: there are no samples to draw'
        )
    scope = cfg.get('default_scope')
    with DATASETS.switch_scope_and_registry(scope) as registry:
        dataset = registry.build(cfg.train_dataloader.dataset)
        num_samples = min(num_samples, len(dataset))
        indices = np.linspace(0, len(dataset) - 1, num_samples).astype(int)
        items = [dataset[int(i)] for i in indices]
    if not all(isinstance(item['inputs'], Tensor) for item in items):
        raise ValueError(
            f'The samples of {cfg.filename} have several images each and cannot '
            'be drawn: expected one image each'
        )
    settings = _preprocessor_settings(cfg)
    with MODELS.switch_scope_and_registry(scope) as registry:
        batch = registry.build(settings)(pseudo_collate(items), training=True)
    images = _undo_normalization(cfg, settings, batch['inputs'])
    samples = batch['data_samples']
    draw = _drawer(samples[0], dataset.metainfo)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, image, sample in zip(indices, images, samples):
        name = Path(sample.get('img_path') or 'sample').stem
        paths.append(folder / f'{i}_{name}.png')
        draw(image, sample, str(paths[-1]))
    return paths


def _preprocessor_settings(cfg: Config) -> dict:
    """The settings as the runner and mmpretrain's classifiers complete them."""
    settings = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    default = (
        'ClsDataPreprocessor'
        if cfg.get('default_scope') == 'mmpretrain'
        else 'BaseDataPreprocessor'
    )
    settings = {'type': default, **settings}
    # They need a running training, whose progress they read.
    settings.pop('batch_augments', None)
    return settings


def _undo_normalization(
    cfg: Config, settings: dict, inputs: Tensor
) -> list[np.ndarray]:
    """Network inputs (B, C, H, W) -> RGB images (H, W, 3), uint8.

    Of four and more channels, the first three are shown; of two, the first.
    """
    stages = [settings] + [
        t for t in walk(cfg.train_dataloader.dataset) if type_name(t) == 'Normalize'
    ]
    for stage in stages:
        if stage.get('mean') is not None:
            mean, std = (
                torch.tensor(stage[key], dtype=torch.float).view(-1, 1, 1)
                for key in ('mean', 'std')
            )
            inputs = inputs * std + mean
        to_rgb = stage.get('to_rgb', type_name(stage) == 'Normalize')
        if to_rgb or stage.get('bgr_to_rgb') or stage.get('rgb_to_bgr'):
            inputs = inputs.flip(1)
    num_shown = 3 if inputs.shape[1] >= 3 else 1
    # OpenMMLab reads images as BGR.
    inputs = inputs[:, :num_shown].flip(1).expand(-1, 3, -1, -1)
    images = inputs.round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return [np.ascontiguousarray(image) for image in images]


def _drawer(sample: Any, metainfo: dict) -> Callable[[np.ndarray, Any, str], None]:
    """The function that draws an image with its sample into a file."""
    if 'gt_instances' in sample:
        from mmdet.visualization import DetLocalVisualizer as Visualizer
    elif 'gt_sem_seg' in sample:
        from mmseg.visualization import SegLocalVisualizer as Visualizer
    elif 'gt_label' in sample:
        from mmpretrain.visualization import UniversalVisualizer as Visualizer
    else:
        raise ValueError(
            'Samples can be drawn if they have boxes, a segmentation map or a '
            f'label; these have {", ".join(sample.keys()) or "nothing"}'
        )
    visualizer = Visualizer()
    visualizer.dataset_meta = metainfo

    def draw(image: np.ndarray, sample: Any, path: str) -> None:
        if 'gt_label' in sample:
            visualizer.visualize_cls(
                image, sample, resize=max(MIN_SIDE, min(image.shape[:2])), out_file=path
            )
        else:
            visualizer.add_datasample(
                path, image, sample, draw_pred=False, out_file=path
            )

    return draw
