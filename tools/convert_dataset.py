"""Convert and split the dataset of a labelling tool into what the configs read.

Reads labelme, VIA, Pascal VOC, YOLO and COCO files, folders of classes, and
folders of images and masks. SOURCE is not changed. Images are hard links where
the file system allows it, otherwise copies.
"""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.convert_dataset.convert import convert
from lightvit_mm.convert_dataset.formats import FORMATS
from lightvit_mm.messages import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', type=Path, help='folder of the dataset')
    parser.add_argument('out', type=Path, help='folder for the result, new or empty')
    parser.add_argument(
        '--val',
        type=float,
        help='part of the images for val, such as 0.2; needed if SOURCE has no split',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the split; default %(default)s'
    )
    parser.add_argument(
        '--format', choices=FORMATS, help='format of SOURCE; default: detected'
    )
    parser.add_argument(
        '--attribute', help='for VIA: attribute of the regions that is their class'
    )
    parser.add_argument(
        '--crowds-as-objects',
        action='store_true',
        help='train on crowds as on other objects: CVAT exports brush masks as crowds',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        summary = convert(
            args.source,
            args.out,
            args.val,
            args.seed,
            args.format,
            args.attribute,
            args.crowds_as_objects,
        )
    print(printable(summary))


if __name__ == '__main__':
    main()
