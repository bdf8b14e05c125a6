"""A trained model and the names of its classes."""

import re
from pickle import UnpicklingError

import numpy as np
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import nn

from ..classes import find_classes
from ..files import PathLike
from ..hub import check_installed
from ..inference import load_model, test_pipeline
from ..own_data import complete, own_data_runner, set_num_classes

LIBRARIES = ('mmpretrain', 'mmdet', 'mmseg')


def load_trained(cfg: Config, checkpoint: PathLike, device: str = 'cpu') -> nn.Module:
    """A model with weights that fit exactly, and with its ``dataset_meta``.

    ``dataset_meta`` has the names and the colours of the classes, ``classes``
    and ``palette``: those of the checkpoint, else those of the config's test
    data. Classes without a name are called by their index.

    Args:
        cfg: Config of any of the three libraries. One for one's own data is
            completed by the classes of the checkpoint. Only if it names none,
            the data have to be there.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        device: Where the model goes.

    Raises:
        ValueError: If the checkpoint cannot be read or does not fit, or the
            config is not a whole one.
        OSError: If one's own data are needed and not there.
        ModuleNotFoundError: If the library is not installed.
    """
    _check_whole(cfg)
    trained_on = _read_dataset_meta(checkpoint)
    if own_data_runner(cfg) is not None and 'classes' in trained_on:
        set_num_classes(cfg.model, len(trained_on['classes']))
    else:
        complete(cfg)
    model = load_model(cfg, checkpoint, device)
    model.dataset_meta = _dataset_meta(model, cfg, trained_on)
    return model


def _check_whole(cfg: Config) -> None:
    scope = cfg.get('default_scope')
    if scope not in LIBRARIES:
        raise ValueError(
            f'default_scope={scope!r} of the config should be '
            f'one of {", ".join(LIBRARIES)}'
        )
    check_installed(scope)
    test_pipeline(cfg)


def _read_dataset_meta(checkpoint: PathLike) -> dict:
    """What a checkpoint says of the data that it was trained on."""
    try:
        content = CheckpointLoader.load_checkpoint(
            str(checkpoint), 'cpu', logger='silent'
        )
    except (OSError, EOFError, RuntimeError, UnpicklingError, ValueError) as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(
            f'The checkpoint {checkpoint} cannot be used: {reason}'
        ) from error
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
    """What the heads that classify say of the number of classes."""
    heads = re.compile(r'(.*\.)?(head|decode_head|bbox_head)(\.\d+)?')
    return {
        module.num_classes
        for name, module in model.named_modules()
        if heads.fullmatch(name) and hasattr(module, 'num_classes')
    }
