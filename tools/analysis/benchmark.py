"""Measure the speed and memory of models side by side.

Models of timm and of mmpretrain, mmdet and mmseg configs, in PyTorch,
onnxruntime and OpenVINO. All take turns in every round. Prints a table and
writes it as Markdown, every round as JSON and the images per second as PNG.
"""

import argparse
import json
from pathlib import Path

from mmengine.utils import mkdir_or_exist

from lightvit_mm import cli
from lightvit_mm.analysis import benchmark
from lightvit_mm.analysis.runtimes import DEVICES, DTYPES, MODES, RUNTIMES, Setup


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, argument_default=argparse.SUPPRESS
    )
    parser.add_argument(
        'models',
        nargs='+',
        metavar='MODEL',
        help='a model of timm, as pvt_v2_b0, or a config: PATH.py or '
        'LIBRARY::PATH.py, as lightvit_mm::lightvit_t_8xb128_in1k.py',
    )
    parser.add_argument(
        '--mode',
        choices=MODES,
        help='training is forward, loss and backward (default: inference)',
    )
    parser.add_argument(
        '--runtime',
        dest='runtimes',
        nargs='+',
        choices=[name for name in RUNTIMES if name != 'plain'],
        default=['eager'],
        help='compiled is torch.compile; int8 is quantised by onnxruntime and '
        'run by OpenVINO (default: eager)',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='of the images (default: 224 224)',
    )
    parser.add_argument(
        '--batch-size',
        dest='batch_sizes',
        type=int,
        nargs='+',
        metavar='N',
        help='images of a batch (default: 1 16)',
    )
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        help='bf16 and fp16 are mixed precision (default: fp32)',
    )
    parser.add_argument('--device', choices=DEVICES, help='(default: cpu)')
    parser.add_argument(
        '--rounds',
        type=int,
        help='rounds in which all are measured in turn (default: 5)',
    )
    parser.add_argument(
        '--features',
        action='store_true',
        help='measure the backbones alone, with a map of each stage',
    )
    parser.add_argument(
        '--plain',
        action='store_true',
        default=False,
        help='measure LightViT also as the paper states it, step by step and '
        'eager, and how much faster each runtime is than that',
    )
    parser.add_argument(
        '--with-cp',
        action='store_true',
        help='training: recompute the blocks of LightViT (not of its plain '
        'statement) in the backward pass',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmark'),
        help='folder for Markdown, JSON and PNG (default: %(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    names, out = options.pop('models'), options.pop('out')
    if options.pop('plain'):
        options['runtimes'] = ['plain', *options['runtimes']]
    with cli.short_errors():
        setup = Setup(**options)
        mkdir_or_exist(out)
        models = benchmark.build_all(names, setup)

    results = benchmark.measure(models, setup)
    text = '\n'.join(table.markdown() for table in benchmark.tables(results, setup))
    content = benchmark.report(results, setup)
    (out / 'benchmark.json').write_text(json.dumps(content, indent=1) + '\n')
    (out / 'benchmark.md').write_text(text)
    benchmark.draw(results, setup).savefig(out / 'benchmark.png', dpi=150)
    print(f'\n{text}\nWritten: {out}/benchmark.md, .json and .png')


if __name__ == '__main__':
    main()
