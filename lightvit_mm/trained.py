"""From a config and a checkpoint to a model with its class names and input."""

import re
from collections.abc import Collection
from pickle import UnpicklingError
from typing import NamedTuple

import mmcv
import numpy as np
import torch
from mmcv.transforms import LoadAnnotations
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, DefaultScope, Registry
from mmengine.runner import CheckpointLoader, load_state_dict
from torch import Tensor, nn

from .arguments import TEXT, check, each
from .checkpoints import CheckpointError, StateDict, find_weights
from .config import type_name
from .engine.own_data import complete
from .files import PathLike
from .messages import reason
from .models import LightViT
from .models.layers import HW


class InferenceError(ValueError):
    """Raised if a model or image cannot be used; the message gives the reason."""


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config in evaluation mode, with random weights.

    Pretrained weights in the config are neither downloaded nor loaded.
    """
    settings = cfg.model.copy()
    if 'data_preprocessor' in cfg:  # mmpretrain puts it outside of the model
        settings.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = MODELS.build(settings)
    return revert_sync_batchnorm(model).eval()


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


class Trained(NamedTuple):
    """What a checkpoint says about a trained model.

    Args:
        weights: The weights that validation evaluated.
        is_averaged: Whether they are those that EMAHook averaged.
        meta: ``meta`` of the checkpoint.
    """

    weights: StateDict
    is_averaged: bool
    meta: dict


def load_trained(
    cfg: Config, checkpoint: PathLike, device: str = 'cpu', with_classes: bool = True
) -> nn.Module:
    """Build the model of a config with the weights of a checkpoint.

    Its ``dataset_meta`` holds the names and colours of the classes, ``classes``
    and ``palette``; see :func:`find_classes`.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg. A config for your own data is
            completed in place from the classes of the checkpoint. If the
            checkpoint has no class names, ``data_root`` is read instead.
        checkpoint: File, address such as lightvit://tiny-in1k, or published model:
            its folder or hf://OWNER/NAME.
        device: Device of the model.
        with_classes: Whether class names are needed. Without them,
            ``dataset_meta`` is that of the checkpoint, or None.

    Raises:
        InferenceError: If the model has no LightViT, or the checkpoint cannot
            be read or does not fit exactly.
        ValueError: If the number of class names does not fit the model, or
            ``data_root`` is needed and is not such a dataset.
        OSError: If ``data_root`` is needed and missing.
    """
    trained = read_trained(cfg, checkpoint)
    return build_trained(cfg, checkpoint, trained, device, with_classes)


def build_trained(
    cfg: Config,
    checkpoint: PathLike,
    trained: Trained,
    device: str = 'cpu',
    with_classes: bool = True,
) -> nn.Module:
    """Do what :func:`load_trained` does, for a checkpoint that is read already.

    Args:
        cfg: As there.
        checkpoint: As there, for error messages.
        trained: What :func:`read_trained` returned.
        device: As there.
        with_classes: As there.

    Raises:
        InferenceError: As there.
        ValueError: As there.
        OSError: As there.
    """
    meta = trained.meta
    # OpenMMLab 1.x has CLASSES and PALETTE in meta itself.
    trained_on = meta.get('dataset_meta') or meta
    trained_on = {key.lower(): value for key, value in trained_on.items()}
    classes = trained_on.get('classes')
    complete(cfg, None if classes is None else len(classes))
    model = build_model(cfg)
    find_backbone(model)
    try:
        load_state_dict(model, trained.weights, strict=True)
    except RuntimeError as error:
        raise InferenceError(
            f'The checkpoint {checkpoint} cannot be used; expected weights of exactly '
            f'the model in the config: {reason(error)}'
        ) from error
    model.dataset_meta = trained_on or None
    if with_classes:
        model.dataset_meta = _dataset_meta(model, cfg, trained_on)
    return model.to(device)


def read_trained(cfg: Config, checkpoint: PathLike) -> Trained:
    """Read a checkpoint, with the weights that ``tools/test.py`` would test.

    EMAHook saves the averaged weights as ``state_dict`` and the others as
    ``ema_state_dict``. It evaluates the averaged ones, except mmpretrain's hook with
    ``evaluate_on_ema=False``.

    Args:
        cfg: Config of the run.
        checkpoint: As for :func:`load_trained`.

    Raises:
        InferenceError: If the checkpoint cannot be read or has no weights.
    """
    try:
        content = CheckpointLoader.load_checkpoint(
            str(checkpoint), 'cpu', logger='silent'
        )
        weights = find_weights(content, checkpoint)
        is_averaged = 'ema_state_dict' in content and _evaluates_average(cfg)
        if 'ema_state_dict' in content and not is_averaged:
            others = find_weights(content['ema_state_dict'], checkpoint)
            # The rest is the number of steps.
            weights = {
                key.removeprefix('module.'): value
                for key, value in others.items()
                if key.startswith('module.')
            }
    except (CheckpointError, OSError) as error:
        raise InferenceError(reason(error)) from error
    except (EOFError, RuntimeError, UnpicklingError, ValueError) as error:
        raise InferenceError(
            f'The checkpoint {checkpoint} cannot be used: {reason(error)}'
        ) from error
    return Trained(weights, is_averaged, content.get('meta') or {})


def _evaluates_average(cfg: Config) -> bool:
    hooks = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or ()),
    ]
    return not any(
        type_name(hook) == 'EMAHook' and hook.get('evaluate_on_ema') is False
        for hook in filter(None, hooks)
    )


def _dataset_meta(model: nn.Module, cfg: Config, trained_on: dict) -> dict:
    known = find_classes(cfg, trained_on, _num_classes(model))
    classes = known['classes']
    palette = [tuple(colour) for colour in known.get('palette') or []]
    if len(palette) < len(classes):
        colours = np.random.RandomState(42).randint(0, 256, (len(classes), 3))
        palette = [tuple(colour) for colour in colours.tolist()]
    return dict(classes=classes, palette=palette[: len(classes)])


def _num_classes(model: nn.Module) -> set[int]:
    """The values of ``num_classes`` in the heads that classify."""
    heads = re.compile(r'(.*\.)?(head|decode_head|bbox_head)(\.\d+)?')
    return {
        module.num_classes
        for name, module in model.named_modules()
        if heads.fullmatch(name) and hasattr(module, 'num_classes')
    }


def find_classes(
    cfg: Config, trained_on: dict | None, numbers: Collection[int]
) -> dict:
    """Names of the classes, and their colours if known.

    The names are those of the checkpoint. Without any, they are those of the test
    dataset in the config, then those of the dataset's class, then the indices of
    the classes.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        trained_on: ``dataset_meta`` of the checkpoint, if it has one.
        numbers: Number of classes of each head. The number of names must be one
            of them.

    Returns:
        ``classes``, a list, and whatever is stored with it, such as ``palette``.

    Raises:
        ValueError: If there are more or fewer names than classes, or if they are not
            strings.
    """
    dataset = _test_dataset(cfg)
    with DATASETS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        kind = registry.get(dataset.type) if 'type' in dataset else None
    by_index = dict(classes=[str(i) for i in range(max(numbers, default=0))])
    known = next(
        meta
        for meta in (
            trained_on,
            dataset.get('metainfo'),
            getattr(kind, 'METAINFO', None),
            by_index,
        )
        if meta and meta.get('classes') is not None
    )
    names = check('dataset_meta', known, dict(classes=each(TEXT, least=0)))
    classes = list(names['classes'])
    if numbers and len(classes) not in numbers:
        raise ValueError(
            f'{len(classes)} class names for {max(numbers)} classes: set '
            f'test_dataloader.dataset.metainfo.classes to {max(numbers)} names'
        )
    return dict(known, classes=classes)


def _test_dataset(cfg: Config) -> dict:
    return (cfg.get('test_dataloader') or {}).get('dataset', {})


def pipeline_of(cfg: Config) -> list[dict]:
    """The transforms that prepare a test image, as configs.

    Raises:
        InferenceError: If the config has none.
    """
    dataset = _test_dataset(cfg)
    if 'pipeline' not in dataset:
        raise InferenceError(
            'The config has no test_dataloader.dataset.pipeline: expected the '
            'steps that prepare an image'
        )
    return dataset.pipeline


def image_steps(cfg: Config) -> list[dict]:
    """The transforms of a test image that has no annotations, as configs.

    Raises:
        InferenceError: If the config has none.
    """
    with TRANSFORMS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        return [
            step
            for step in pipeline_of(cfg)
            if not _loads_annotations(registry, step['type'])
        ]


def _loads_annotations(registry: Registry, kind: str | type) -> bool:
    if isinstance(kind, str):
        kind = registry.get(kind)
    return isinstance(kind, type) and issubclass(kind, LoadAnnotations)


def image_pipeline(cfg: Config) -> tuple[Compose, Compose]:
    """The transform that loads an image file, and those that follow.

    Raises:
        InferenceError: If the config has none.
    """
    steps = image_steps(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        return Compose(steps[:1]), Compose(steps[1:])


def network_input(
    model: nn.Module, cfg: Config, image_path: PathLike, size: HW | None = None
) -> tuple[np.ndarray, Tensor]:
    """Prepare an image file for a model.

    Args:
        model: Model of ``cfg``.
        cfg: Config whose test pipeline prepares the image.
        image_path: The file.
        size: Height and width to resize the image to, instead of the steps of
            the test pipeline.

    Returns:
        The prepared image for display, RGB (h, w, 3), and the input of the
        backbone (1, 3, h', w'), normalised and, if the model needs it, padded at
        the bottom and right.

    Raises:
        InferenceError: If the image cannot be read, the config has no
            test pipeline or ``size`` is not positive.
    """
    if size is not None and min(size) < 1:
        raise InferenceError(
            f'size={tuple(size)} should be a height and width of at least one pixel'
        )
    load, prepare = image_pipeline(cfg)
    try:
        results = load(dict(img_path=str(image_path)))
    # Each decoder raises its own exceptions.
    except Exception as error:
        raise InferenceError(
            f'The image {image_path} cannot be read '
            f'({type(error).__name__}); expected a JPEG, PNG or similar file'
        ) from error
    if size is None:
        image = prepare(results)['inputs']
    else:
        image = torch.from_numpy(mmcv.imresize(results['img'], size[::-1])).permute(
            2, 0, 1
        )
    batch = model.data_preprocessor(dict(inputs=[image], data_samples=None))
    # OpenMMLab reads images in BGR.
    return image.flip(0).permute(1, 2, 0).numpy(), batch['inputs']
