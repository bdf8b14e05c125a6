"""The weights that the authors published: names, files, addresses and sums."""

from collections.abc import Iterator
from typing import NamedTuple

from .downloads import Sums

_RELEASE = 'https://github.com/hunto/LightViT/releases/download/v0.0.1/'
# Without confirm, Google Drive asks before it sends a file that is too large for its
# virus scan.
_DRIVE = 'https://drive.usercontent.google.com/download?export=download&confirm=t&id='


class Weights(NamedTuple):
    """A published file.

    Args:
        file: Its name in the cache of downloads and in ``LIGHTVIT_CHECKPOINTS``.
        layout: What it becomes, one of :data:`lightvit_mm.checkpoints.LAYOUTS`.
        sources: Its addresses, in the order in which they are tried.
    """

    file: str
    layout: str
    sources: tuple[str, ...]


# ImageNet-1k classifiers: size, accuracy in the name of the file, id on Google Drive.
_CLASSIFIERS = (
    ('tiny', 78.7, '1NasAnHYK6bkmj0-rzYvxQSEUiKAOW3j9'),
    ('small', 80.9, '16EZUth-wZ7rKR6tI67_Smp6GGzaODp16'),
    ('base', 82.1, '1MpVvfo8AiJMmz8CJZ7lBnDyoBJUEDxeL'),
)
# Mask R-CNN on COCO: size, ids of 1x and of 3x. Files are named after their logs.
_DETECTORS = (
    ('tiny', '15sSit0VpcsmL3Pr-fdjM6nRdmSZre0zh', '1EfhtuCVCoprbwb_6W-32z_po4hGvAzu8'),
    (
        'small',
        '146RWYNShe5IrltvmgWoelj27LaRQBcXE',
        '16l5lXYwz3Anx28ncqPfc3mir-nyZyRd6',
    ),
    ('base', '19IHkVO_Qy__NHe0syrUpIKrhGNoS9VCd', '1hLKdemruEKW2DO0227ZNm1zSZCqMWVfi'),
)


def _released() -> Iterator[tuple[str, Weights]]:
    for size, accuracy, drive in _CLASSIFIERS:
        file = f'lightvit_{size}_{accuracy}.ckpt'
        sources = (_RELEASE + file, _DRIVE + drive)
        yield f'lightvit://{size}-in1k', Weights(file, 'classifier', sources)
    for size, *ids in _DETECTORS:
        for schedule, name, drive in zip(('1x', '3x'), ('1x', '3x_ms'), ids):
            file = f'mask_rcnn_lightvit_{size}_fpn_{name}_coco.pth'
            address = f'lightvit://{size}-mask-rcnn-{schedule}-coco'
            yield address, Weights(file, 'detector', (_DRIVE + drive,))


RELEASED = dict(_released())

# By the name of the file. The first download writes them next to it.
KNOWN_SUMS: dict[str, Sums] = {}
