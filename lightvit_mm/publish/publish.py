"""Write a trained model to a folder that others can use and check."""

import json
from pathlib import Path

import torch
from mmengine.config import Config

from .. import __version__
from ..downloads import sums_of
from ..files import PathLike, new_folder
from ..installed import check_installed
from ..model_folder import CARD, CLASSES, CONFIG, METRICS, SUMS, WEIGHTS
from ..trained import build_trained, read_trained
from .card import Facts, model_card
from .metrics import find_metrics
from .settings import config_text


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
        trained = read_trained(cfg, checkpoint)
        # It checks that the weights are exactly those of the model.
        model = build_trained(cfg, checkpoint, trained)
        # safetensors refuses weights that share memory.
        weights = {
            key: value.clone(memory_format=torch.contiguous_format)
            for key, value in trained.weights.items()
        }
        metrics = find_metrics(cfg, trained.meta, checkpoint)
        text = config_text(cfg, out / CONFIG)

        (draft / WEIGHTS).write_bytes(save(weights, dict(format='pt')))
        meta = dict(lightvit_mm_version=__version__, dataset_meta=model.dataset_meta)
        torch.save(dict(meta=meta, state_dict=weights), draft / 'model.pth')
        file = f'{name}-{sums_of(draft / "model.pth").sha256[:8]}.pth'
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
            is_averaged=trained.is_averaged,
            license=license,
        )
        (draft / CARD).write_text(model_card(cfg, facts), encoding='utf-8')
        sums = [
            f'{sums_of(path).sha256}  {path.name}\n' for path in sorted(draft.iterdir())
        ]
        (draft / SUMS).write_text(''.join(sums))
    return metrics
