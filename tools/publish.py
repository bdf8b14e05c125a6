"""Publish a trained model: weights, config, classes, metrics, model card, sha256 sums.

You can give the folder as config or checkpoint to this package's other tools, as
init_cfg or load_from in a config, and to OpenMMLab's inferencers. You can upload it
to Hugging Face.
"""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.publish.publish import publish


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    parser.add_argument(
        'checkpoint', help='checkpoint file or address, such as lightvit://tiny-in1k'
    )
    parser.add_argument(
        'out', type=Path, help='new folder; its name becomes the name of the model'
    )
    parser.add_argument(
        '--license', help='license to state in the model card, such as apache-2.0'
    )
    return parser.parse_args()


@cli.short_errors()
def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args)
    metrics = publish(cfg, args.checkpoint, args.out, args.license)
    print(f'{args.out}:', ', '.join(sorted(path.name for path in args.out.iterdir())))
    if metrics:
        print(', '.join(f'{name}: {value:g}' for name, value in metrics.items()))
    else:
        print(
            'There is no log with results of this checkpoint, so the model card '
            'has no results'
        )


if __name__ == '__main__':
    main()
