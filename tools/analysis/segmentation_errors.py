"""List the images that a segmentor gets wrong, and print its confusion matrix.

tools/test.py CONFIG CHECKPOINT --cfg-options test_evaluator.output_dir=MASKS
writes the masks.
"""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.analysis.segmentation_errors import Errors, count_errors
from lightvit_mm.engine.own_data import complete
from lightvit_mm.messages import lines


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    parser.add_argument('masks', type=Path, help='folder of the predicted masks')
    parser.add_argument(
        '--num-images',
        type=int,
        default=20,
        help='number of images to list; default %(default)s',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        cfg = cli.read_config(args)
        complete(cfg)
        errors = count_errors(cfg, args.masks)
    print('Wrong pixels:')
    for path, share in list(errors.wrong.items())[: args.num_images]:
        print(lines([f'{share:7.1%}  {path}']))
    print_confusion(errors)


def print_confusion(errors: Errors) -> None:
    width = max(map(len, errors.classes))
    print('\nPredicted class of the pixels of each true class:')
    for name, row in zip(errors.classes, errors.confusion):
        shares = row / max(row.sum(), 1)
        best = sorted(range(len(row)), key=lambda i: -row[i])[:5]
        text = ', '.join(f'{errors.classes[i]} {shares[i]:.1%}' for i in best if row[i])
        print(lines([f'{name:>{width}}: {text or "no pixels"}']))


if __name__ == '__main__':
    main()
