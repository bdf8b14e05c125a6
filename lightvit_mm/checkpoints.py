"""Read, convert and download weights of LightViT.

There are five layouts, which differ in the names of the tensors:

- ``authors``: the authors' ImageNet classifier.
- ``classifier``: the ``ImageClassifier`` that mmpretrain builds from our configs.
- ``detector``: detectors of mmdet. Versions 2.x, which the authors used, and 3.x
  use the same names in the backbone, the neck and the R-CNN heads.
- ``model``: any other model with a LightViT as its backbone.
- ``backbone``: only the backbone.

mmengine understands the addresses in :data:`lightvit_mm.weights.RELEASED` wherever
it takes a checkpoint, as in ``load_from`` and
``init_cfg=dict(type='Pretrained', checkpoint='lightvit://tiny-in1k')``.
"""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from .downloads import fetch, read_checked
from .files import written_whole
from .models import LightViT
from .models.strict import take_backbone
from .safe_load import CheckpointError, MapLocation, RefusedError, read
from .weights import KNOWN_SUMS, RELEASED, Weights

StateDict = dict[str, Tensor]

FOLDER_VARIABLE = 'LIGHTVIT_CHECKPOINTS'

LAYOUTS = {
    'authors': "the authors' classifier",
    'classifier': "mmpretrain's classifier",
    'detector': 'a detector of mmdet 2.x or 3.x',
    'model': 'another model with a LightViT backbone',
    'backbone': 'a bare backbone',
}
# What each layout can become. The authors' detectors have the names of ours.
_TARGETS = {
    'authors': ('authors', 'classifier', 'backbone'),
    'classifier': ('authors', 'classifier', 'backbone'),
    'detector': ('authors', 'detector', 'backbone'),
    'model': ('backbone',),
    'backbone': ('backbone',),
}

# Prefixes of names in a classifier, the authors' and ours. The first match counts.
_AUTHORS_TO_OURS = (
    ('norm.', 'backbone.norm2.'),
    ('neck.', 'neck.'),
    ('head.', 'head.fc.'),
    ('', 'backbone.'),
)
_OURS_TO_AUTHORS = tuple((ours, authors) for authors, ours in _AUTHORS_TO_OURS)
_AFTER_STAGES = tuple(
    f'{layer}.{name}'
    for layer in ('backbone.norm2', 'neck.0', 'neck.1', 'head.fc')
    for name in ('weight', 'bias')
)
_DETECTOR_HEADS = ('rpn_head.', 'roi_head.', 'bbox_head.')


def read_state_dict(path: str | Path, map_location: MapLocation = 'cpu') -> StateDict:
    """Read the weights of a checkpoint without executing code from it.

    Args:
        path: Any file that ``torch.save`` wrote.
        map_location: As for ``torch.load``.

    Returns:
        The weights, as of :func:`find_weights`.

    Raises:
        OSError: If the file cannot be opened.
        CheckpointError: If it is not a checkpoint, is truncated, could execute
            code or holds no weights.
    """
    return find_weights(read(path, map_location), path)


def find_weights(content: Any, path: str | Path) -> StateDict:
    """The weights in the content of a checkpoint.

    They are taken from ``state_dict``, which OpenMMLab writes and the authors
    published. Otherwise they are taken from ``model`` or ``ema_model``, which the
    authors' trainer writes (they published ``model``), or from the top level. The
    prefix ``module.`` of a distributed model is removed.

    Args:
        content: What ``torch.load`` returned.
        path: The file, for error messages.

    Raises:
        CheckpointError: If there are no weights.
    """
    weights, keys = content, []
    if isinstance(content, dict):
        keys = [
            key
            for key in ('state_dict', 'model', 'ema_model')
            if isinstance(content.get(key), dict)
        ]
        weights = content[keys[0]] if keys else content
    if len(keys) > 1:
        print_log(
            f'{path}: using {keys[0]!r}, not {", ".join(keys[1:])}', logger='current'
        )
    if (
        not isinstance(weights, dict)
        or not weights
        or not all(
            isinstance(key, str) and isinstance(value, Tensor)
            for key, value in weights.items()
        )
    ):
        found = (
            f'the keys {_some(weights)}'
            if isinstance(weights, dict)
            else type(weights).__name__
        )
        raise CheckpointError(
            f'{path} holds no weights: found {found}, expected named tensors at '
            "the top level or under 'state_dict', 'model' or 'ema_model'"
        )
    while all(key.startswith('module.') for key in weights):
        weights = {key[len('module.') :]: value for key, value in weights.items()}
    return dict(weights)


def _some(keys) -> str:
    """The first few keys, for an error message."""
    shown = ', '.join(map(str, list(keys)[:5]))
    return shown + (f' and {len(keys) - 5} more' if len(keys) > 5 else '')


def detect_layout(state_dict: StateDict) -> str:
    """The layout of a state dict, one of :data:`LAYOUTS`.

    Raises:
        CheckpointError: If it is none of them.
    """

    def has(*starts: str) -> bool:
        return any(key.startswith(starts) for key in state_dict)

    if 'global_token' in state_dict:
        is_classifier = has('norm.', 'neck.', 'head.')
        return 'authors' if is_classifier else 'backbone'
    if 'backbone.global_token' in state_dict:
        if has('head.fc.', 'neck.0.'):
            return 'classifier'
        return 'detector' if has(*_DETECTOR_HEADS) else 'model'
    raise CheckpointError(
        f'These are no weights of a LightViT: the keys are {_some(state_dict)}. '
        f'Expected {", ".join(LAYOUTS.values())}, with a global_token.'
    )


def convert(state_dict: StateDict, to: str) -> StateDict:
    """Rename the tensors of a state dict and drop those that ``to`` lacks.

    Args:
        state_dict: Weights in any of :data:`LAYOUTS`.
        to: 'classifier', 'detector', 'backbone' or 'authors'. The last is the
            authors' layout of a classifier or of a detector.

    Returns:
        A new dict with the same tensors in the same order.

    Raises:
        CheckpointError: If the layout is unknown or cannot become ``to``, or if
            tensors of a classifier are missing or left over.
    """
    layout = detect_layout(state_dict)
    if to not in _TARGETS[layout]:
        raise CheckpointError(
            f'{LAYOUTS[layout]} cannot be converted to {to!r}; expected one of '
            f'{", ".join(map(repr, _TARGETS[layout]))}'
        )
    _report_num_tokens(state_dict)
    if layout == 'authors':
        state_dict = _rename(state_dict, _AUTHORS_TO_OURS)
    if to == 'backbone' and layout != 'backbone':
        return take_backbone(state_dict)
    if layout in ('authors', 'classifier'):
        _check_classifier(state_dict)
        if to == 'authors':
            return _rename(state_dict, _OURS_TO_AUTHORS)
    return dict(state_dict)


def _rename(state_dict: StateDict, starts: tuple) -> StateDict:
    renamed = {}
    for key, value in state_dict.items():
        old, new = next(pair for pair in starts if key.startswith(pair[0]))
        renamed[new + key[len(old) :]] = value
    return renamed


def _check_classifier(state_dict: StateDict) -> None:
    missing = [key for key in _AFTER_STAGES if key not in state_dict]
    left_over = [
        key
        for key in state_dict
        if key not in _AFTER_STAGES and not key.startswith('backbone.')
    ]
    if missing or left_over:
        raise CheckpointError(
            "This is not a complete classifier (in this package's names). "
            f'Missing: {missing or "nothing"}. Left over: {left_over or "nothing"}. '
            "Convert it to 'backbone' to keep the backbone."
        )


def _report_num_tokens(state_dict: StateDict) -> None:
    """Warn about another number of tokens than the default of the size.

    512 is the default of the authors' code for detectors.
    """
    name = 'global_token'
    token = state_dict.get(name, state_dict.get(f'backbone.{name}'))
    for arch, settings in LightViT.arch_zoo.items():
        default = settings['num_tokens']
        shape = (1, default, settings['embed_dims'][0])
        if token.shape[2:] == shape[2:] and token.shape != shape:
            num = token.shape[1]
            print_log(
                f'The checkpoint has {num} global tokens, but arch={arch!r} has '
                f'{default}: set model.backbone.num_tokens={num}',
                logger='current',
                level=logging.WARNING,
            )


def save_state_dict(state_dict: StateDict, path: str | Path, meta: dict) -> None:
    """Write a checkpoint that mmengine can load, completely or not at all.

    Args:
        state_dict: Weights.
        path: File to write. An existing one is replaced.
        meta: Plain values to store with the weights.

    Raises:
        OSError: If the file cannot be written.
    """
    with written_whole(Path(path)) as draft:
        torch.save(dict(meta=meta, state_dict=state_dict), draft)


def load_published(filename: str, map_location: MapLocation | None = None) -> dict:
    """Load published weights, for mmengine's ``CheckpointLoader``.

    The file is read from the folder in the environment variable
    ``LIGHTVIT_CHECKPOINTS``. Without the variable it is downloaded once, to
    torch.hub's cache.

    Args:
        filename: One of :data:`lightvit_mm.weights.RELEASED`.
        map_location: As for ``torch.load``; the CPU by default.

    Returns:
        A dict with ``state_dict``, in the layout of mmpretrain's classifier or of
        mmdet's detector, and ``meta``. A bare LightViT loads the part with the
        prefix ``backbone.``.

    Raises:
        ValueError: If the address is unknown.
        FileNotFoundError: If the folder does not have the file.
        CheckpointError: If the file cannot be downloaded or used.
    """
    if filename not in RELEASED:
        raise ValueError(f'{filename!r} should be one of {tuple(RELEASED)}')
    released = RELEASED[filename]
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is None:
        path = Path(torch.hub.get_dir(), 'checkpoints', released.file)
        content = _fetch(released, path, map_location or 'cpu')
    else:
        path = Path(folder).expanduser() / released.file
        content = _read_from_folder(released, path, map_location or 'cpu')
    weights = find_weights(content, path)
    try:
        weights = convert(weights, released.layout)
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from error
    # mmdet 2.x stores the names of the classes in it.
    meta = content.get('meta')
    meta = dict(meta if isinstance(meta, dict) else {}, source=filename)
    return dict(state_dict=weights, meta=meta)


def _fetch(released: Weights, path: Path, map_location: MapLocation) -> Any:
    try:
        return fetch(
            released.sources, path, map_location, sums=KNOWN_SUMS.get(released.file)
        )
    except RefusedError:
        raise
    except CheckpointError as error:
        raise CheckpointError(
            f'{error}, or into any folder and set the environment variable '
            f'{FOLDER_VARIABLE} to that folder.'
        ) from error


def _read_from_folder(released: Weights, path: Path, map_location: MapLocation) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no file {path}, although {FOLDER_VARIABLE}={path.parent} '
            f'is set. Put {" or ".join(released.sources)} there under this name, or '
            'unset the variable to download it.'
        )
    return read_checked(path, map_location, KNOWN_SUMS.get(released.file))
