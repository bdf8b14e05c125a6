"""Predict and draw with a trained classifier, detector or segmentor.

Takes images, folders of images and videos. Writes pictures, and the predictions
as one JSON file in COCO format.
"""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.messages import lines
from lightvit_mm.predict.predict import FILE, predict


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    parser.add_argument(
        'checkpoint',
        help='checkpoint file, address such as lightvit://tiny-in1k, or published '
        'model: its folder or hf://OWNER/NAME',
    )
    parser.add_argument(
        'paths',
        nargs='+',
        metavar='IMAGE_OR_FOLDER_OR_VIDEO',
        help='image, folder with images in it or below, video, or a glob of these, '
        "such as 'photos/*.jpg'",
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
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='skip files that cannot be read, list them at the end and exit with '
        'status 1; by default, the first one ends the run',
    )
    cli.add_device(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        cfg = cli.read_config(args)
        outcome = predict(
            cfg,
            args.checkpoint,
            args.paths,
            args.out,
            args.score_thr,
            args.device,
            args.skip_bad,
        )
    print(f'{outcome.num_images} images: {args.out}/pictures and {args.out / FILE}')
    if outcome.skipped:
        raise SystemExit(
            f'{len(outcome.skipped)} files could not be read and were skipped:\n'
            + lines(outcome.skipped)
        )


if __name__ == '__main__':
    main()
