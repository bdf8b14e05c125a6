"""A dataset of masks in which some values are ignored; needs mmsegmentation."""

from collections.abc import Sequence

from mmseg.datasets import BaseSegDataset

from ..registry import DATASETS


@DATASETS.register_module()
class MaskFolderDataset(BaseSegDataset):
    """mmsegmentation's dataset, with names for all values of a mask.

    Args:
        mask_classes: Names of the mask values 0, 1 and so on. Values named in
            ``metainfo['classes']`` get their index there as label; the others
            get ``ignore_index``.
        kwargs: Options of mmsegmentation's ``BaseSegDataset``.
    """

    def __init__(self, mask_classes: Sequence[str], **kwargs) -> None:
        self.mask_classes = mask_classes
        super().__init__(**kwargs)

    # BaseSegDataset reads the names of the values from the class attribute.
    def get_label_map(self, new_classes: Sequence[str]) -> dict[int, int] | None:
        """Label of each mask value, or None if they are the same."""
        if list(new_classes) == list(self.mask_classes):
            return None
        labels = {name: label for label, name in enumerate(new_classes)}
        return {
            value: labels.get(name, self.ignore_index)
            for value, name in enumerate(self.mask_classes)
        }
