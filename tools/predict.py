"""Predict and draw with a trained classifier, detector or segmentor.

Takes an image, a folder of images or a video. Writes pictures, and the
predictions as one JSON file in COCO format.
"""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.predict.predict import FILE, predict


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    parser.add_argument(
        'checkpoint', help='checkpoint file or address, such as lightvit://tiny-in1k'
    )
    parser.add_argument(
        'source',
        metavar='IMAGE_OR_FOLDER_OR_VIDEO',
        help='image, folder with images in it or below, or video',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/predict'),
        help='folder for the results; default %(default)s',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='minimum score of a detection; default %(default)s',
    )
    cli.add_device(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        cfg = cli.read_config(args)
        count = predict(
            cfg, args.checkpoint, args.source, args.out, args.score_thr, args.device
        )
    print(f'{count} images: {args.out}/pictures and {args.out / FILE}')


if __name__ == '__main__':
    main()
