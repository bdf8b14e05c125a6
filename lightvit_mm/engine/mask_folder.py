"""A dataset of masks whose values have names; needs mmsegmentation."""

import re
from collections.abc import Sequence
from pathlib import Path

from mmseg.datasets import BaseSegDataset

from ..arguments import FLAG, TEXT, Kind, checked, each, integer, optional, require
from ..files import IMAGE_SUFFIXES
from ..messages import short
from ..registry import DATASETS
from .dataset_kinds import DATASET, is_prefix
from .folders.masks import MASK_SUFFIXES, pair_masks

_VALUES = each(integer(0, 65535))
_COLOURS = each(
    Kind(
        "a colour as '#rrggbb'",
        lambda value: isinstance(value, str) and re.fullmatch('#[0-9a-f]{6}', value),
    )
)
_PREFIX = Kind(
    "a dict of paths with the keys 'img_path' and 'seg_map_path'",
    lambda value: is_prefix(value, 'img_path', 'seg_map_path'),
)
_SUFFIXES = Kind(
    'a suffix such as .png, or a list of them',
    lambda value: TEXT.accepts(value) or each(TEXT).accepts(value),
)


@DATASETS.register_module()
class MaskFolderDataset(BaseSegDataset):
    """mmsegmentation's dataset of two folders, with names for the values of a mask.

    Args:
        mask_classes: Names of the values of a mask. Values named in
            ``metainfo['classes']`` get their index there as label; the others
            get ``ignore_index``.
        mask_values: The values in the order of ``mask_classes``: numbers from 0
            to 65535, or colours as '#rrggbb'. Default: 0, 1 and so on. Colours,
            and numbers above 255, need the transform ``lightvit_mm.LoadSegMap``.
        img_suffix: End of the names of images, or several, in lower case.
            Default: those of all common formats.
        seg_map_suffix: End of the names of masks, or several, in lower case.
            Default: .png, .tif, .tiff and .bmp.
        kwargs: Options of mmsegmentation's ``BaseSegDataset``, apart from
            ``ann_file``.

    Raises:
        FileNotFoundError: If there is no image, or an image has no mask.
        TypeError: If an argument is unknown.
        ValueError: If an argument is out of its range, or two images or two masks have
            the same name before the suffix.
    """

    @checked(
        mask_classes=each(TEXT),
        mask_values=optional(
            Kind(
                "a list of integers from 0 to 65535, or of colours as '#rrggbb'",
                lambda value: _VALUES.accepts(value) or _COLOURS.accepts(value),
                tuple,
            )
        ),
        img_suffix=_SUFFIXES,
        seg_map_suffix=_SUFFIXES,
        ignore_index=integer(0, 255),
        reduce_zero_label=FLAG,
        **{**DATASET, 'data_prefix': _PREFIX},
    )
    def __init__(
        self,
        mask_classes: Sequence[str],
        mask_values: Sequence[int] | Sequence[str] | None = None,
        img_suffix: str | Sequence[str] = IMAGE_SUFFIXES,
        seg_map_suffix: str | Sequence[str] = MASK_SUFFIXES,
        **kwargs,
    ) -> None:
        if kwargs.get('ann_file'):
            raise TypeError(
                'MaskFolderDataset takes all images of a folder and no ann_file; '
                "use mmsegmentation's BaseSegDataset to list them in a file"
            )
        self.mask_classes = mask_classes
        self.mask_values = mask_values or range(len(mask_classes))
        require(
            'MaskFolderDataset',
            len(self.mask_values) == len(mask_classes),
            f'mask_values={short(mask_values)}',
            f'as long as mask_classes={short(mask_classes)}',
        )
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    # BaseSegDataset reads the names of the values from the class attribute.
    def get_label_map(self, new_classes: Sequence[str]) -> dict[int | str, int]:
        """Label of each value of a mask."""
        labels = {name: label for label, name in enumerate(new_classes)}
        listed = {
            value: labels.get(name, self.ignore_index)
            for value, name in zip(self.mask_values, self.mask_classes, strict=True)
        }
        return {255: self.ignore_index, **listed}

    def load_data_list(self) -> list[dict]:
        """Paths of each image and its mask, and how to read the mask."""
        pairs = pair_masks(
            Path(self.data_prefix['img_path']),
            Path(self.data_prefix['seg_map_path']),
            _tuple(self.img_suffix),
            _tuple(self.seg_map_suffix),
        )
        return [
            dict(
                img_path=str(image),
                seg_map_path=str(mask),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for image, mask in pairs
        ]


def _tuple(suffixes: str | Sequence[str]) -> tuple[str, ...]:
    return (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
