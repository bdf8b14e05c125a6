"""From a config and a checkpoint to a model, its class names and its input."""

import re
from collections.abc import Collection
from pickle import UnpicklingError

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, load_state_dict
from torch import Tensor, nn

from .config import set_num_classes
from .engine.own_data import complete, own_data_runner
from .files import PathLike
from .models import LightViT
from .models.lightvit import HW


class InferenceError(ValueError):
    """A model or an image that cannot be used; the message says why."""


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config in evaluation mode, with random weights.

    Nothing is downloaded: weights that the config names are not loaded.
    """
    settings = cfg.model.copy()
    if 'data_preprocessor' in cfg:  # mmpretrain's configs have it outside
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


def load_trained(cfg: Config, checkpoint: PathLike, device: str = 'cpu') -> nn.Module:
    """Build the model of a config with the weights of a checkpoint.

    The model's ``dataset_meta`` has the names and colours of the classes,
    ``classes`` and ``palette``: those of the checkpoint, else those of the
    config's test data. Classes without a name are called by their index.

    Args:
        cfg: Config of any of the three libraries. A config for one's own data
            is completed by the classes of the checkpoint. If the checkpoint
            names none, ``data_root`` has to be there.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        device: Device of the model.

    Raises:
        InferenceError: If the model has no LightViT, or the checkpoint cannot
            be read or does not fit exactly.
        ValueError: If the class names do not fit the model, or ``data_root``
            is needed and holds no such dataset.
        OSError: If ``data_root`` is needed and missing.
    """
    content = _read(checkpoint)
    trained_on = _trained_on(content)
    if own_data_runner(cfg) is not None and 'classes' in trained_on:
        set_num_classes(cfg, len(trained_on['classes']))
    else:
        complete(cfg)
    model = build_model(cfg)
    find_backbone(model)
    weights = content.get('state_dict', content)
    weights = {re.sub(r'^module\.', '', key): value for key, value in weights.items()}
    try:
        load_state_dict(model, weights, strict=True)
    except RuntimeError as error:
        raise _unusable(checkpoint, error) from error
    model.dataset_meta = _dataset_meta(model, cfg, trained_on)
    return model.to(device)


def _read(checkpoint: PathLike) -> dict:
    try:
        content = CheckpointLoader.load_checkpoint(
            str(checkpoint), 'cpu', logger='silent'
        )
    except (OSError, EOFError, RuntimeError, UnpicklingError, ValueError) as error:
        raise _unusable(checkpoint, error) from error
    if not isinstance(content, dict):
        raise _unusable(checkpoint, f'it holds a {type(content).__name__}, not a dict')
    return content


def _unusable(checkpoint: PathLike, reason: Exception | str) -> InferenceError:
    text = ' '.join(str(reason).split()) or type(reason).__name__
    return InferenceError(
        f'The checkpoint {checkpoint} cannot be used; expected weights of '
        f'exactly the model of the config: {text}'
    )


def _trained_on(content: dict) -> dict:
    """What a checkpoint says about the dataset that it was trained on."""
    meta = content.get('meta') or {}
    # OpenMMLab 1.x has CLASSES and PALETTE in meta itself.
    meta = meta.get('dataset_meta') or meta
    return {key.lower(): value for key, value in meta.items()}


def _dataset_meta(model: nn.Module, cfg: Config, trained_on: dict) -> dict:
    known = find_classes(cfg, trained_on, _num_classes(model))
    classes = known['classes']
    palette = [tuple(colour) for colour in known.get('palette') or []]
    if len(palette) < len(classes):
        colours = np.random.RandomState(42).randint(0, 256, (len(classes), 3))
        palette = [tuple(colour) for colour in colours.tolist()]
    return dict(classes=classes, palette=palette[: len(classes)])


def _num_classes(model: nn.Module) -> set[int]:
    """The numbers of classes that the classifying heads have."""
    heads = re.compile(r'(.*\.)?(head|decode_head|bbox_head)(\.\d+)?')
    return {
        module.num_classes
        for name, module in model.named_modules()
        if heads.fullmatch(name) and hasattr(module, 'num_classes')
    }


def find_classes(
    cfg: Config, trained_on: dict | None, numbers: Collection[int]
) -> dict:
    """Names of the classes, and their colours where known.

    Args:
        cfg: Config of any of the three libraries.
        trained_on: ``dataset_meta`` of the checkpoint, if it has one. Its
            names come first, then those of the config's test data, then those
            of the dataset's class. Classes without a name are called by their
            index.
        numbers: Numbers of classes that the heads have. The number of names
            has to be one of them.

    Returns:
        ``classes``, a list, and what else comes with the names, such as
        ``palette``.

    Raises:
        ValueError: If the names are more or fewer than the classes.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})
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
    classes = list(known['classes'])
    if numbers and len(classes) not in numbers:
        raise ValueError(
            f'{len(classes)} class names for {max(numbers)} classes: set '
            'test_dataloader.dataset.metainfo.classes to as many'
        )
    return dict(known, classes=classes)


def pipeline_of(cfg: Config) -> list[dict]:
    """The transforms that prepare a test image, as configs.

    Raises:
        InferenceError: If the config has none.
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
    """Prepare an image file for a model.

    Args:
        model: Model of ``cfg``.
        cfg: Config whose test pipeline prepares the image.
        image_path: The file.
        size: Height and width to resize the image to, instead of the steps of
            the test pipeline.

    Returns:
        The prepared image to look at, RGB (h, w, 3), and the input of the
        backbone, (1, 3, h', w'), normalised and perhaps padded at the bottom
        and right.

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
        step for step in pipeline_of(cfg) if 'Annotations' not in str(step['type'])
    ]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        load, prepare = Compose(steps[:1]), Compose(steps[1:])
        try:
            results = load(dict(img_path=str(image_path)))
        # Each decoder raises its own exceptions.
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
