"""What the page shows for an image: predictions and attention."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from ..analysis.attention_maps import BlockAttention, global_attention_maps
from ..files import PathLike
from ..predict.media import picture, read_image
from ..predict.tasks import load_task
from ..trained import find_backbone, network_input

LEAST_SCORE = 0.05  # Detections below it are never shown.
MOST_PIXELS = 50_000_000
SIDE = 600  # small images are enlarged to about this many pixels


class Opened(NamedTuple):
    """An image and what the model computed for it.

    Args:
        image: BGR, uint8, (h, w, 3).
        sample: Its predictions, OpenMMLab's data sample.
        seen: What the network sees of it, RGB, uint8, enlarged.
        zoom: How many times its sides are enlarged.
        blocks: The attention of each block by its name.
    """

    image: np.ndarray
    sample: Any
    seen: np.ndarray
    zoom: int
    blocks: dict[str, BlockAttention]


class Explorer:
    """A trained model, and what it does with an image.

    Args:
        cfg: Config of mmpretrain, mmdet or mmseg.
        checkpoint: File or address, such as lightvit://tiny-in1k.
        device: Device of the model.

    Raises:
        ValueError, OSError, ModuleNotFoundError: As
            :func:`lightvit_mm.predict.tasks.load_task`.
    """

    def __init__(self, cfg: Config, checkpoint: PathLike, device: str = 'cpu') -> None:
        self.cfg = cfg
        self.task, self.load = load_task(cfg, checkpoint, LEAST_SCORE, device)
        self.model = self.task.inferencer.model
        self.backbone = find_backbone(self.model)
        nothing = torch.zeros(1, self.backbone.in_channels, 64, 64, device=device)
        self.blocks = list(self._attention_of(nothing))

    def open(self, path: PathLike) -> Opened:
        """Predict on an image file.

        Raises:
            ValueError: If it cannot be read, or has more than ``MOST_PIXELS`` pixels.
        """
        loaded = read_image(Path(path), self.load, Path(path).name, MOST_PIXELS)
        image = picture(loaded['img'])
        sample = self.task.predict(loaded)
        seen, inputs = network_input(self.model, self.cfg, path)
        zoom = max(SIDE // max(seen.shape), 1)
        seen = picture(seen).repeat(zoom, axis=0).repeat(zoom, axis=1)
        return Opened(image, sample, seen, zoom, self._attention_of(inputs))

    def _attention_of(self, inputs: Tensor) -> dict[str, BlockAttention]:
        if not self.backbone.num_tokens:
            return {}
        return {b.name: b for b in global_attention_maps(self.backbone, inputs)}

    def predictions(
        self, opened: Opened, score_thr: float
    ) -> tuple[np.ndarray, list[list[str]]]:
        """The image with its predictions, RGB, and a row of text for each."""
        sample = self.task.above(opened.sample, score_thr)
        return self.task.draw(opened.image, sample)[..., ::-1], self.task.rows(sample)
