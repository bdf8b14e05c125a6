"""A patch that makes losses of segmentors right."""

from types import ModuleType
from typing import Any

from torch import Tensor


def weigh_ignored_pixels(module: ModuleType) -> None:
    """Let class weights and ignored pixels go together in the cross entropy.

    Args:
        module: ``mmseg.models.losses.cross_entropy_loss``.
    """
    cross_entropy = module.cross_entropy

    def weighted_cross_entropy(
        pred: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        class_weight: Tensor | None = None,
        reduction: str = 'mean',
        avg_factor: Any = None,
        ignore_index: int = -100,
        **kwargs: Any,
    ) -> Tensor:
        if class_weight is not None and avg_factor is None and reduction == 'mean':
            # As in PyTorch: ignored pixels have no weight.
            avg_factor = class_weight[label[label != ignore_index]].sum()
        return cross_entropy(
            pred,
            label,
            weight,
            class_weight,
            reduction,
            avg_factor,
            ignore_index,
            **kwargs,
        )

    module.cross_entropy = weighted_cross_entropy
