"""Masks of any values or colours, read as labels; needs mmsegmentation."""

import io

import numpy as np
from mmengine.fileio import get
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from ..arguments import DICT, checked, optional
from ..messages import listed
from ..registry import TRANSFORMS

# Masks with more values that have no name have no such classes: their values are
# mixtures of others.
_MANY = 20


@TRANSFORMS.register_module()
class LoadSegMap(LoadAnnotations):
    """mmsegmentation's loader of masks, for values and colours of any kind.

    The dataset says which value or colour gets which label, in ``label_map``. A
    palette PNG counts as colours if ``label_map`` has colours, otherwise as
    numbers. An image without a mask passes unchanged, as in prediction.

    Args:
        backend_args: Options of mmengine's file backend.
    """

    @checked(backend_args=optional(DICT))
    def __init__(self, backend_args: dict | None = None) -> None:
        super().__init__(backend_args=backend_args)

    def transform(self, results: dict) -> dict:
        """Add ``gt_seg_map``, labels (h, w) of type uint8.

        Raises:
            ValueError: If the mask has values that are not in ``label_map``, is
                not a picture of numbers or colours as ``label_map`` needs it, or
                the dataset has ``reduce_zero_label``.
        """
        return super().transform(results) if 'seg_map_path' in results else results

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        if results['reduce_zero_label']:
            raise ValueError(
                'LoadSegMap takes the labels from label_map: set '
                'reduce_zero_label=False in the dataset'
            )
        label_of = results['label_map']
        has_colours = any(isinstance(value, str) for value in label_of)
        if has_colours:
            label_of = {
                int(colour[1:], 16): label
                for colour, label in label_of.items()
                if isinstance(colour, str)
            }
        image = _decode(get(path, self.backend_args), path)
        pixels = _colours(image) if has_colours else _numbers(image, path)

        size = max(label_of) + 1
        # The last entry is for all values that are not listed.
        table = np.full(size + 1, -1, np.int16)
        table[list(label_of)] = list(label_of.values())
        labels = table[pixels.clip(-1, size)]
        unknown = np.unique(pixels[labels < 0])
        if unknown.size:
            form = '#{:06x}' if has_colours else '{}'
            values = listed(map(form.format, unknown.tolist()), most=5)
            fix = (
                'Was it smoothed or resized, or ever a JPEG? Save it with the values '
                'of the classes only'
                if unknown.size > _MANY
                else 'Add them, with the name void to ignore them'
            )
            raise ValueError(
                f'The mask {path} has the values {values}, which classes.txt does not '
                f'list. {fix}'
            )
        results['gt_seg_map'] = labels.astype(np.uint8)
        results['seg_fields'].append('gt_seg_map')


def _decode(data: bytes, path: str) -> Image.Image:
    """The image in a file.

    Raises:
        ValueError: If it is broken.
    """
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    # Pillow's decoders raise many kinds of exceptions, without the path.
    except Exception as error:
        raise ValueError(f'The mask {path} cannot be decoded: {error}') from error
    return image


def _colours(image: Image.Image) -> np.ndarray:
    """Pixels (h, w) as the numbers 0xrrggbb."""
    red, green, blue = np.moveaxis(np.array(image.convert('RGB'), np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def _numbers(image: Image.Image, path: str) -> np.ndarray:
    """Pixels (h, w) as they are stored; three equal channels count as one."""
    pixels = np.array(image)
    if pixels.ndim == 3:
        colours = pixels[..., : 1 if image.mode in ('LA', 'PA') else 3]
        if (colours != colours[..., :1]).any():
            raise ValueError(
                f'The mask {path} has colours, but classes.txt lists numbers: give '
                'each line a colour, such as "#ff8000: road"'
            )
        pixels = colours[..., 0]
    if pixels.dtype.kind == 'f':
        raise ValueError(
            f'The mask {path} has fractions ({image.mode}): save it with whole '
            'numbers, such as an 8-bit PNG'
        )
    return pixels.astype(np.int32)
