"""The metadata of an exported file, for programs without OpenMMLab.

- ``task``: classification, detection, segmentation or features.
- ``outputs``: names of the outputs, in order.
- ``classes``: names of the classes, in the order of the outputs; empty for features.
- ``steps``: how to prepare an image, in order. ``resize`` scales it to exactly
  ``size``, ``fit`` scales it to fit into ``size``, ``short`` scales its short side
  to ``size``, and ``crop`` cuts out the centre. A ``size`` is (height, width), except
  for ``short``, where it is one number.
- ``channel_order``, ``mean``, ``std``: the normalisation after the steps.
- ``pad_divisor``: height and width are then padded to a multiple of it, with
  zeros at the bottom and right.
- ``size``: fixed height and width of the input, null if they may vary.
- ``mask_threshold``: only for a detector with masks.
"""

from collections.abc import Sequence

from mmengine.config import Config
from torch import nn

from ..models.layers import HW
from ..trained import InferenceError, find_classes, pipeline_of
from .modules import Exportable, ExportError


def describe(
    module: Exportable, model: nn.Module, cfg: Config, size: HW | None
) -> dict:
    """The metadata of a module, ready for JSON.

    Args:
        module: The module to export.
        model: The whole model. Its ``dataset_meta``, if any, names the classes;
            see :func:`lightvit_mm.trained.find_classes`.
        cfg: Config of the model.
        size: Fixed height and width of the input, None if they may vary.

    Raises:
        ExportError: If the preprocessing cannot be described, or the number of
            class names does not fit the model.
    """
    preprocessor = model.data_preprocessor
    is_normed = preprocessor._enable_normalize
    is_rgb = getattr(
        preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', False)
    )
    settings = dict(
        task=module.task,
        outputs=list(module.outputs),
        classes=_classes(module, model, cfg),
        steps=preprocessing_steps(cfg),
        channel_order='rgb' if is_rgb else 'bgr',
        mean=preprocessor.mean.flatten().tolist() if is_normed else [0.0] * 3,
        std=preprocessor.std.flatten().tolist() if is_normed else [1.0] * 3,
        pad_divisor=_pad_divisor(preprocessor),
        size=size,
    )
    if 'masks' in module.outputs:
        settings['mask_threshold'] = model.test_cfg.rcnn.mask_thr_binary
    return settings


def fixed_size(steps: Sequence[dict]) -> HW | None:
    """Height and width that all images have after the steps, None if they vary."""
    if steps and steps[-1]['step'] in ('resize', 'crop'):
        return tuple(steps[-1]['size'])
    return None


def preprocessing_steps(cfg: Config) -> list[dict]:
    """The ``steps`` of the metadata, from the test pipeline of a config.

    Raises:
        ExportError: If there is no pipeline, or it has unsupported steps.
    """
    try:
        pipeline = pipeline_of(cfg)
    except InferenceError as error:
        raise ExportError(str(error)) from error
    steps = []
    for settings in pipeline:
        name = str(settings['type']).rpartition('.')[2]
        if name == 'CenterCrop':
            w, h = _pair(settings['crop_size'])
            steps.append(dict(step='crop', size=(h, w)))
        elif name in ('Resize', 'ResizeEdge'):
            steps.append(_resize(name, settings))
        elif not name.startswith(('LoadImage', 'LoadAnnotations', 'LoadSegMap', 'Pack')):
            raise ExportError(
                f'{name} in the test pipeline cannot be exported: expected only '
                'Resize, ResizeEdge and CenterCrop'
            )
    return steps


def _resize(name: str, settings: dict) -> dict:
    how = (settings.get('backend', 'cv2'), settings.get('interpolation', 'bilinear'))
    scale = settings.get('scale')
    if (
        how not in (('cv2', 'bilinear'), ('pillow', 'bilinear'), ('pillow', 'bicubic'))
        or scale is None
        or settings.get('edge', 'short') != 'short'
    ):
        raise ExportError(
            f'{dict(settings)} in the test pipeline cannot be exported: expected a '
            "scale, edge='short', and interpolation='bilinear', or 'bicubic' with "
            "backend='pillow'"
        )
    if name == 'ResizeEdge':
        step = dict(step='short', size=scale)
    else:
        w, h = _pair(scale)
        step = dict(step='fit' if settings.get('keep_ratio') else 'resize', size=(h, w))
    return dict(step, backend=how[0], interpolation=how[1])


def _pair(size: int | Sequence[int]) -> Sequence[int]:
    return (size, size) if isinstance(size, int) else size


def _pad_divisor(preprocessor: nn.Module) -> int:
    # mmsegmentation has separate settings for testing.
    settings: dict[str, int] = getattr(preprocessor, 'test_cfg', None) or {}
    if settings.get('size') is not None:
        raise ExportError(
            f'data_preprocessor.test_cfg={dict(settings)} cannot be exported: '
            'expected a size_divisor'
        )
    return settings.get('size_divisor', getattr(preprocessor, 'pad_size_divisor', 1))


def _classes(module: Exportable, model: nn.Module, cfg: Config) -> Sequence[str]:
    num_classes = getattr(module, 'num_classes', 0)
    if not num_classes:
        return []
    trained_on = getattr(model, 'dataset_meta', None)
    try:
        return find_classes(cfg, trained_on, [num_classes])['classes']
    except ValueError as error:
        raise ExportError(str(error)) from error
