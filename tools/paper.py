"""Reproduce a table or figure of the LightViT paper.

Prints it next to the paper's figures and writes it as Markdown. Figures are also
written as PNG.
"""

import argparse
from pathlib import Path

from mmengine.utils import mkdir_or_exist

from lightvit_mm import cli
from lightvit_mm.paper import Options
from lightvit_mm.paper.experiments import EXPERIMENTS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'name', nargs='?', metavar='NAME', help='table or figure; see --list'
    )
    parser.add_argument('--list', action='store_true', help='list all names')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/paper'),
        help='folder for Markdown and pictures (default: %(default)s)',
    )
    cli.add_device(parser, default='cpu')
    parser.add_argument('--amp', action='store_true', help='measure in mixed precision')
    parser.add_argument(
        '--compile', action='store_true', help='measure with torch.compile'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=Options.batch_size,
        help='images per batch (default: %(default)s)',
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=Options.rounds,
        help='each round measures all models in turn (default: %(default)s)',
    )
    parser.add_argument(
        '--config',
        default=Options.config,
        help='figure4: config of the model (default: %(default)s)',
    )
    parser.add_argument(
        '--checkpoint',
        default=Options.checkpoint,
        help='figure4: its weights (default: %(default)s)',
    )
    parser.add_argument(
        '--layer',
        metavar='STAGE.BLOCK',
        help='figure4: block to draw, counted from 1, such as 2.6 (default: the last)',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        type=Path,
        default=[],
        help='figure4: images to draw on (default: two sample photographs)',
    )
    args = parser.parse_args()
    if not args.list and args.name not in EXPERIMENTS:
        parser.error(f'NAME is {args.name}; it must be one of {", ".join(EXPERIMENTS)}')
    if min(args.batch_size, args.rounds) < 1:
        parser.error('--batch-size and --rounds must be at least 1')
    return args


def main() -> None:
    args = parse_args()
    if args.list:
        for name, experiment in EXPERIMENTS.items():
            print(f'{name:10} {experiment.__doc__.splitlines()[0]}')
        return
    options = vars(args)
    name = options.pop('name')
    options.pop('list')
    mkdir_or_exist(args.out)
    with cli.short_errors():
        tables = EXPERIMENTS[name](Options(**options))
    text = '\n'.join(table.markdown() for table in tables)
    path = args.out / f'{name}.md'
    path.write_text(text)
    print(f'{text}\nWritten: {path}')


if __name__ == '__main__':
    main()
