"""Export a model to a file for onnxruntime, OpenVINO or plain PyTorch.

Supports classifiers, segmentors, Mask R-CNN and bare backbones. run.py runs the
files for onnxruntime and OpenVINO without PyTorch and OpenMMLab.
"""

import argparse
from pathlib import Path

from lightvit_mm import cli
from lightvit_mm.config import config_name
from lightvit_mm.deploy.export import SUFFIXES, export
from lightvit_mm.deploy.modules import PARTS, ExportError
from lightvit_mm.files import image_files
from lightvit_mm.installed import check_installed
from lightvit_mm.trained import load_trained


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    cli.add_config(parser)
    cli.add_checkpoint(parser)
    parser.add_argument(
        '--format', choices=list(SUFFIXES), default='onnx', help='default %(default)s'
    )
    parser.add_argument(
        '--part',
        choices=PARTS,
        default='model',
        help='the whole model, or only its LightViT; default %(default)s',
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='fix the height and width of the images. By default they may vary, '
        'except for a classifier whose test pipeline fixes them; pt2 always needs '
        'a size',
    )
    parser.add_argument(
        '--int8',
        type=Path,
        metavar='FOLDER',
        help='quantise to int8: every second image of the folder calibrates the '
        'model, the others compare it with float32',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='file to write; default work_dirs/deploy/CONFIG_NAME with the '
        'suffix of the format',
    )
    return parser.parse_intermixed_args()


def default_path(args: argparse.Namespace) -> Path:
    name = config_name(args.config)
    if args.part != 'model':
        name += f'_{args.part}'
    if args.int8 is not None:
        name += '_int8'
    return Path('work_dirs/deploy', name + SUFFIXES[args.format])


def main() -> None:
    args = parse_args()
    path = args.out or default_path(args)
    with cli.short_errors():
        cfg = cli.read_config(args)
        model = load_trained(
            cfg, cli.checkpoint_of(args, cfg), with_classes=args.part == 'model'
        )
        if args.int8 is None:
            size = export(model, cfg, path, args.format, args.size, args.part)
            extent = f'{size[0]} x {size[1]} pixels' if size else 'any size'
            print(f'{path}: takes any number of images of {extent}')
            return
        check_installed('onnx')
        check_installed('onnxruntime')
        from lightvit_mm.deploy.int8 import export_int8

        if not args.int8.is_dir():
            raise ExportError(f'--int8 {args.int8} should be a folder of images')
        agreement = export_int8(
            model, cfg, path, image_files(args.int8), args.format, args.size, args.part
        )
        print(f'{path}: agrees with float32, {agreement}')


if __name__ == '__main__':
    main()
