"""Write docs/model_zoo.md from configs/metafile.yml."""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.analysis.model_zoo import page
from lightvit_mm.files import write_whole


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('docs/model_zoo.md'),
        help='file to write; default %(default)s',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        write_whole(args.out, page().encode())
    print(f'Written: {args.out}')


if __name__ == '__main__':
    main()
