"""Measure the speed and memory of models side by side.

It measures models of timm and of mmpretrain, mmdet and mmseg configs in PyTorch,
onnxruntime and OpenVINO. All models take turns in every round. The tool prints
the tables and writes them as Markdown, all rounds as JSON and a plot of the
images per second as PNG.
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
        help='a model of timm, for example pvt_v2_b0, or a config, PATH.py or '
        'LIBRARY::PATH.py, for example lightvit_mm::lightvit_t_8xb128_in1k.py',
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
        help='height and width of the images (default: 224 224)',
    )
    parser.add_argument(
        '--batch-size',
        dest='batch_sizes',
        type=int,
        nargs='+',
        metavar='N',
        help='images per batch (default: 1 16)',
    )
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        help='bf16 and fp16 are mixed precision (default: fp32)',
    )
    parser.add_argument(
        '--device', choices=DEVICES, help='where to run the models (default: cpu)'
    )
    parser.add_argument(
        '--rounds',
        type=int,
        help='number of rounds in which all models take turns (default: 5)',
    )
    parser.add_argument(
        '--features',
        action='store_true',
        help='measure only the backbones, with a map of each stage',
    )
    parser.add_argument(
        '--plain',
        action='store_true',
        default=False,
        help='also measure LightViT as the paper states it, step by step in eager '
        'PyTorch, and report how much faster each runtime is',
    )
    parser.add_argument(
        '--with-cp',
        action='store_true',
        help='in training, recompute the layers of LightViT in the backward pass '
        '(not those of --plain)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmark'),
        help='folder for the Markdown, JSON and PNG files (default: %(default)s)',
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
    content = benchmark.to_json(results, setup)
    (out / 'benchmark.json').write_text(json.dumps(content, indent=1) + '\n')
    (out / 'benchmark.md').write_text(text)
    benchmark.draw_throughput(results, setup).savefig(out / 'benchmark.png', dpi=150)
    print(f'\n{text}\nWritten: {out}/benchmark.md, .json and .png')


if __name__ == '__main__':
    main()
