"""Train several configs with one budget, and compare their learning curves.

Each config is trained with each seed, in OUT/CONFIG_NAME/seed_SEED. Run the same
command again to continue where it stopped. Afterwards OUT holds a table, the
curves as curves.csv, and a plot of each metric, for all runs in OUT.
"""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.analysis.compare_training import train, write_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='configs to train')
    parser.add_argument('--out', type=Path, required=True, help='folder of all runs')
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0], help='default %(default)s'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of all configs, as in train.py',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        for seed in args.seeds:
            for config in args.configs:
                train(config, seed, args.out, args.cfg_options)
        print(write_report(args.out).markdown())


if __name__ == '__main__':
    main()
