"""Check the datasets of a config before training.

Takes any config of mmpretrain, mmdet or mmsegmentation. Prints each fault with
its file, entry and fix. The exit status is 1 if there is a fault.
"""

import argparse
from pathlib import Path

from mmengine.config import Config

from lightvit_mm import cli
from lightvit_mm.check_dataset.check import check
from lightvit_mm.check_dataset.samples import draw_samples
from lightvit_mm.engine.own_data import complete
from lightvit_mm.messages import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    parser.add_argument(
        '--show-dir',
        type=Path,
        help='draw samples of the training set into this folder, as the network '
        'sees them',
    )
    parser.add_argument(
        '--num-samples',
        type=int,
        default=4,
        help='number of samples to draw; default %(default)s',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with cli.short_errors():
        cfg = cli.read_config(args)
        complete(cfg)
        report = check(cfg)
        print(printable(str(report)))
        if args.show_dir is not None:
            draw(cfg, args.show_dir, args.num_samples, report.has_faults)
    raise SystemExit(int(report.has_faults))


def draw(cfg: Config, folder: Path, num_samples: int, has_faults: bool) -> None:
    try:
        paths = draw_samples(cfg, folder, num_samples)
    # The libraries fail on faulty data in many ways.
    except Exception as error:
        if not has_faults:
            raise
        raise SystemExit(
            '\nThe samples cannot be drawn before the faults above are fixed: '
            + printable(str(error))
        ) from error
    print(printable('\nSamples of the training set: ' + ', '.join(map(str, paths))))


if __name__ == '__main__':
    main()
