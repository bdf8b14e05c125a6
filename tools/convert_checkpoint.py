"""Convert a checkpoint between the authors' layouts and this package's."""

import argparse
import os

from lightvit_mm import cli
from lightvit_mm.checkpoints import (
    LAYOUTS,
    CheckpointError,
    convert,
    detect_layout,
    read_state_dict,
    save_state_dict,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('input', metavar='IN', help='checkpoint to read')
    parser.add_argument('output', metavar='OUT', help='checkpoint to write')
    parser.add_argument(
        '--to',
        required=True,
        choices=['classifier', 'backbone', 'detector', 'authors'],
        help='classifier: for mmpretrain; backbone: only the backbone; detector: '
        "for mmdet 3.x; authors: the authors' classifier or mmdet 2.x detector",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        if os.path.exists(args.output) and os.path.samefile(args.input, args.output):
            raise CheckpointError(
                f'{args.output} is the input itself; write to a different file'
            )
        weights = read_state_dict(args.input)
        converted = convert(weights, args.to)
        source = LAYOUTS[detect_layout(weights)]
        save_state_dict(converted, args.output, dict(converted_from=source))
    print(
        f'{args.input}: {source}, {len(weights)} tensors\n'
        f'{args.output}: {LAYOUTS[detect_layout(converted)]}, '
        f'{len(converted)} tensors'
    )


if __name__ == '__main__':
    main()
