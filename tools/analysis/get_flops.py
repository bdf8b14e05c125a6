"""Count parameters and MACs of any mmpretrain, mmdet or mmseg config.

The count covers every matrix product and convolution that the network runs.
"""

import argparse

import torch

from lightvit_mm import LightViT, cli
from lightvit_mm.analysis.complexity import (
    count_as_authors,
    count_macs,
    count_parameters,
    forward_tensors,
)
from lightvit_mm.trained import build_model

SHAPES = dict(mmpretrain=(224, 224), mmdet=(800, 1280), mmseg=(512, 512))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='height and width of the image (default: 224 224 for mmpretrain, '
        '800 1280 for mmdet, 512 512 for mmseg)',
    )
    return parser.parse_args()


@cli.short_errors()
def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args)
    if 'default_scope' not in cfg:
        raise SystemExit(
            f'{args.config} has no default_scope, which names the library of the '
            'model; name a complete config, not a base config'
        )
    shape = args.shape or SHAPES[cfg.default_scope]
    if min(shape) < 1:
        raise SystemExit(f'--shape {shape} should be two numbers of at least 1')
    model = build_model(cfg)
    image = torch.rand(1, 3, *shape)

    print(
        f'{args.config} at {shape[0]} x {shape[1]}\n'
        f'parameters     {count_parameters(model) / 1e6:10.3f} M'
    )
    count = count_macs(forward_tensors, model, image)
    print(f'MACs           {count / 1e9:10.3f} G')
    if cfg.default_scope == 'mmpretrain' and any(
        isinstance(module, LightViT) for module in model.modules()
    ):
        count = count_as_authors(model, image)
        print(f"               {count / 1e9:10.3f} G by the authors' formula")


if __name__ == '__main__':
    main()
