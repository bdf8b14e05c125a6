"""Draw where the global tokens of a LightViT look (paper, Figure 4).

For each global token, the upper map shows the places that it gathers from. The
lower map shows the places that read from it. Classifiers, detectors and
segmentors are supported.
"""

import argparse
from collections import Counter
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.analysis.attention_maps import visualize
from lightvit_mm.messages import printable
from lightvit_mm.trained import load_trained


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    cli.add_checkpoint_and_sources(parser, metavar='IMAGE', help='image file')
    parser.add_argument(
        '--layer',
        metavar='STAGE.BLOCK',
        help='block to draw, both counted from 1, for example 3.6 (default: the '
        'last block)',
    )
    parser.add_argument(
        '--head',
        type=int,
        help='head to draw, counted from 0 (default: the mean over all heads)',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='resize the images to this height and width (default: the test '
        'pipeline of the config)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/attention'),
        help='folder for the pictures (default: %(default)s)',
    )
    cli.add_device(parser)
    return cli.parse_sources(parser)


def picture_paths(args: argparse.Namespace) -> list[Path]:
    """One picture per image, named after the image, layer and head."""
    stems = [Path(image).stem for image in args.paths]
    name, times = Counter(stems).most_common(1)[0]
    if times > 1:
        raise SystemExit(
            f'{times} images are named {name} and would share one picture; '
            'rename them, or run the tool once per image with different --out'
        )
    layer = '' if args.layer is None else f'_layer{args.layer}'
    head = '' if args.head is None else f'_head{args.head}'
    return [args.out / f'{stem}{layer}{head}.png' for stem in stems]


def main() -> None:
    args = parse_args()
    pictures = picture_paths(args)
    with cli.short_errors():
        cfg = cli.read_config(args)
        model = load_trained(
            cfg, cli.checkpoint_of(args, cfg), args.device, with_classes=False
        )
        for i, (image, picture) in enumerate(zip(args.paths, pictures), 1):
            visualize(model, cfg, image, picture, args.layer, args.head, args.size)
            print(printable(f'[{i}/{len(pictures)}] {picture}'), flush=True)


if __name__ == '__main__':
    main()
