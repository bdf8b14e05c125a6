"""A model with weights, and what it sees of an image file."""

from pickle import UnpicklingError

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from .analysis.models import build_model
from .files import PathLike
from .models import LightViT
from .models.lightvit import HW


class InferenceError(ValueError):
    """A model or an image that cannot be used; the message says why."""


def find_backbone(model: nn.Module) -> LightViT:
    """The first LightViT in a model.

    Raises:
        InferenceError: If there is none.
    """
    for module in model.modules():
        if isinstance(module, LightViT):
            return module
    raise InferenceError(
        f'There is no LightViT in this {type(model).__name__}: expected a '
        "config with a backbone of type 'lightvit_mm.LightViT'"
    )


def load_model(cfg: Config, checkpoint: PathLike, device: str = 'cpu') -> nn.Module:
    """Build the model of a config with the weights of a checkpoint.

    ``dataset_meta`` of the model is that of the checkpoint, with the names of
    its classes, or None.

    Args:
        cfg: Config of any of the three libraries.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        device: Where the model goes.

    Raises:
        InferenceError: If the model has no LightViT, or the checkpoint
            cannot be read or does not fit exactly.
    """
    model = build_model(cfg)
    find_backbone(model)
    try:
        content = load_checkpoint(model, str(checkpoint), 'cpu', strict=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise InferenceError(
            f'The checkpoint {checkpoint} cannot be used; expected weights of '
            f'just the model of the config: {reason}'
        ) from error
    model.dataset_meta = (content.get('meta') or {}).get('dataset_meta')
    return model.to(device)


def test_pipeline(cfg: Config) -> list[dict]:
    """How a config prepares images, as settings of transforms.

    Raises:
        InferenceError: If it does not say so.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})
    if 'pipeline' not in dataset:
        raise InferenceError(
            'The config has no test_dataloader.dataset.pipeline: expected one '
            'that says how images are prepared'
        )
    return dataset.pipeline


def network_input(
    model: nn.Module, cfg: Config, image_path: PathLike, size: HW | None = None
) -> tuple[np.ndarray, Tensor]:
    """What a model sees of an image file.

    Args:
        model: Model of ``cfg``.
        cfg: Config whose test pipeline prepares the image.
        image_path: The file.
        size: Height and width to resize the image to, in place of what the
            pipeline does.

    Returns:
        The prepared image for the eye, RGB (h, w, 3), and for the backbone,
        (1, 3, h', w'): normed and perhaps padded at the bottom and right.

    Raises:
        InferenceError: If the image cannot be read, the config has no
            test pipeline or ``size`` is not two positive numbers.
    """
    if size is not None and min(size) < 1:
        raise InferenceError(
            f'size={tuple(size)} should be a height and a width of at least one pixel'
        )
    # A bare image has no annotations.
    steps = [
        step for step in test_pipeline(cfg) if 'Annotations' not in str(step['type'])
    ]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        load, prepare = Compose(steps[:1]), Compose(steps[1:])
        try:
            results = load(dict(img_path=str(image_path)))
        # Each decoder has errors of its own.
        except Exception as error:
            raise InferenceError(
                f'The image {image_path} cannot be read '
                f'({type(error).__name__}); expected a file such as a JPEG '
                'or PNG'
            ) from error
        if size is None:
            image = prepare(results)['inputs']
        else:
            image = torch.from_numpy(mmcv.imresize(results['img'], size[::-1])).permute(
                2, 0, 1
            )
    batch = model.data_preprocessor(dict(inputs=[image], data_samples=None))
    # OpenMMLab reads images as BGR.
    return image.flip(0).permute(1, 2, 0).numpy(), batch['inputs']
