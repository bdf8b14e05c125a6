"""Write a trained model to a folder that others can use and check."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from .. import __version__
from ..checkpoints import StateDict, find_weights
from ..config import check_installed, type_name
from ..files import PathLike, new_folder
from ..model_folder import CARD, CLASSES, CONFIG, METRICS, SUMS, WEIGHTS
from ..trained import load_trained
from .card import Facts, model_card
from .metrics import find_metrics
from .settings import config_text

_EMA = 'ema_state_dict'


class Evaluated(NamedTuple):
    """The weights that validation evaluated.

    Args:
        weights: The weights.
        is_averaged: Whether they are those that EMAHook averaged.
    """

    weights: StateDict
    is_averaged: bool


def publish(
    cfg: Config, checkpoint: PathLike, out: PathLike, license: str | None = None
) -> dict[str, float]:
    """Write a model to a new folder, completely or not at all.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg. A config for your own data is
            completed in place.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        out: The folder, which gives the model its name. It must be new or empty.
        license: Identifier for the model card, such as apache-2.0.

    Returns:
        The metrics, from the log next to the checkpoint; empty if there is no log.

    Raises:
        FileExistsError: If there are files in ``out``.
        OSError: If it cannot be written.
        ValueError: If the checkpoint does not fit the config exactly, or the config
            cannot be published.
        ModuleNotFoundError: If huggingface_hub or safetensors is missing.
    """
    for module in ('huggingface_hub', 'safetensors'):
        check_installed(module)
    from safetensors.torch import save

    out = Path(out)
    name = out.resolve().name
    with new_folder(out) as draft:
        model = load_trained(cfg, checkpoint)
        content = CheckpointLoader.load_checkpoint(
            str(checkpoint), 'cpu', logger='silent'
        )
        weights, is_averaged = evaluated(content, cfg, checkpoint)
        metrics = find_metrics(cfg, content.get('meta') or {}, checkpoint)
        text = config_text(cfg, out / CONFIG)

        (draft / WEIGHTS).write_bytes(save(weights, dict(format='pt')))
        meta = dict(lightvit_mm_version=__version__, dataset_meta=model.dataset_meta)
        torch.save(dict(meta=meta, state_dict=weights), draft / 'model.pth')
        file = f'{name}-{_sha256(draft / "model.pth")[:8]}.pth'
        (draft / 'model.pth').rename(draft / file)
        (draft / CONFIG).write_text(text, encoding='utf-8')
        (draft / CLASSES).write_text(json.dumps(model.dataset_meta, indent=1))
        (draft / METRICS).write_text(json.dumps(metrics, indent=1))
        facts = Facts(
            name=name,
            checkpoint=file,
            num_parameters=sum(p.numel() for p in model.parameters()),
            num_classes=len(model.dataset_meta['classes']),
            metrics=metrics,
            is_averaged=is_averaged,
            license=license,
        )
        (draft / CARD).write_text(model_card(cfg, facts), encoding='utf-8')
        sums = [f'{_sha256(path)}  {path.name}\n' for path in sorted(draft.iterdir())]
        (draft / SUMS).write_text(''.join(sums))
    return metrics


def evaluated(content: dict, cfg: Config, checkpoint: PathLike) -> Evaluated:
    """The weights that validation evaluated, each in its own memory.

    EMAHook saves the averaged weights as ``state_dict`` and the others as
    ``ema_state_dict``. It evaluates the averaged ones, except mmpretrain's hook with
    ``evaluate_on_ema=False``.

    Args:
        content: Content of the checkpoint.
        cfg: Config of the run.
        checkpoint: The file, for error messages.

    Raises:
        CheckpointError: If there are no weights.
    """
    weights = find_weights(content, checkpoint)
    is_averaged = _EMA in content
    if is_averaged and any(
        type_name(hook) == 'EMAHook' and hook.get('evaluate_on_ema') is False
        for hook in cfg.get('custom_hooks') or ()
    ):
        is_averaged = False
        weights = {key: content[_EMA][f'module.{key}'] for key in weights}
    # safetensors refuses weights that share memory.
    own = {
        key: value.clone(memory_format=torch.contiguous_format)
        for key, value in weights.items()
    }
    return Evaluated(own, is_averaged)


def _sha256(path: Path) -> str:
    with open(path, 'rb') as file:
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
