"""The models that can be exported, apart from detectors."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..trained import find_backbone


class ExportError(ValueError):
    """Raised if a model cannot be exported; the message gives the reason."""


PARTS = ('model', 'backbone')


class Exportable(nn.Module):
    """A copy of a model or its backbone, in evaluation mode, without gradients.

    Its ``inputs`` and ``outputs`` are the names in the exported file.
    """

    task: str
    inputs: tuple[str, ...] = ('images',)
    outputs: tuple[str, ...]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.eval().requires_grad_(False)

    def example(self, h: int, w: int, batch: int = 2) -> tuple[Tensor, ...]:
        """Random inputs; h and w in pixels."""
        return (torch.randn(batch, 3, h, w),)


class Backbone(Exportable):
    """From images to the feature maps of the backbone, (B, C, H, W) each."""

    task = 'features'

    def __init__(self, model: nn.Module) -> None:
        super().__init__(find_backbone(model))
        self.outputs = tuple(f'stage{i + 1}' for i in self.model.out_indices)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, h, w) to feature maps."""
        return self.model(images)


class Classifier(Exportable):
    """From images to the probabilities of the classes (B, K)."""

    task = 'classification'
    outputs = ('probabilities',)

    def __init__(self, model: nn.Module) -> None:
        from mmpretrain.models import ClsHead, ImageClassifier

        if not (isinstance(model, ImageClassifier) and isinstance(model.head, ClsHead)):
            raise ExportError(
                f'This {type(model).__name__} cannot be exported: expected an '
                'ImageClassifier with a head of type LinearClsHead or another '
                'ClsHead; --part backbone exports its backbone'
            )
        super().__init__(model)
        self.num_classes = model.head.num_classes

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, h, w) to probabilities."""
        logits = self.model.head(self.model.extract_feat(images))
        return logits.softmax(dim=1)


class Segmentor(Exportable):
    """From images to the logits of the classes at each pixel, (B, K, h, w)."""

    task = 'segmentation'
    outputs = ('logits',)

    def __init__(self, model: nn.Module) -> None:
        from mmseg.models import EncoderDecoder

        if type(model) is not EncoderDecoder:
            raise ExportError(
                f'This {type(model).__name__} cannot be exported: expected an '
                'EncoderDecoder; --part backbone exports its backbone'
            )
        mode = model.test_cfg.get('mode', 'whole')
        if mode != 'whole' or model.out_channels == 1:
            raise ExportError(
                f'test_cfg.mode={mode!r} with {model.out_channels} output '
                "channels cannot be exported: expected 'whole' and at least two "
                'channels'
            )
        super().__init__(model)
        self.num_classes = model.num_classes
        self._trace_upsampling()

    def _trace_upsampling(self) -> None:
        """Replace modules whose trace would be fixed to the size of the example."""
        from mmseg.models.utils import Upsample

        for module in list(self.model.modules()):
            for name, child in module.named_children():
                if type(child) is Upsample and child.scale_factor:
                    setattr(
                        module,
                        name,
                        nn.Upsample(
                            scale_factor=child.scale_factor,
                            mode=child.mode,
                            align_corners=child.align_corners,
                        ),
                    )

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, h, w) to logits."""
        logits = self.model.decode_head(self.model.extract_feat(images))
        return F.interpolate(
            logits,
            size=images.shape[2:],
            mode='bilinear',
            align_corners=self.model.align_corners,
        )
