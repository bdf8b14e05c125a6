"""Table 3 and Figures 1 and 5a: LightViT and other models, measured.

Most of the other models of Table 3 come from timm. Four are neither in timm nor
in mmpretrain; the tables give only their published figures.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..analysis.benchmark import (
    build,
    environment,
    import_timm,
    measure,
    spread,
    time_in_turn,
)
from ..analysis.complexity import (
    count_as_authors,
    count_macs,
    count_parameters,
)
from ..analysis.report import Table, difference
from ..analysis.runtimes import DTYPES, Setup, prepare
from ..models.layers import HW
from . import Options
from .published import TABLE3

SHAPE = (3, 224, 224)
AMP_DTYPES = dict(cpu='bf16', cuda='fp16')
REFERENCE = 'LightViT-T'
MEASURED = {row.name: row for row in TABLE3 if row.source}
# The models of Figure 5a and their colours.
STAGED = {
    'LightViT-T': 'tab:red',
    'PVTv2-B0': 'tab:blue',
    'LightViT-S': 'lightcoral',
    'PVTv2-B1': 'lightskyblue',
    'Swin-T': 'tab:green',
}


def _is_lightvit(name: str) -> bool:
    return name.startswith('LightViT')


# Table 3


@dataclass(frozen=True)
class Complexity:
    """Exact counts of a model for one image of 224 x 224.

    Args:
        parameters: All parameters.
        multiply_adds: MACs of every matrix product and convolution.
        as_authors: MACs by the formula of LightViT's authors; None for other
            models.
    """

    parameters: int
    multiply_adds: int
    as_authors: int | None


@functools.cache
def complexities() -> dict[str, Complexity]:
    """Counts of all models of Table 3 that can be built."""
    x = torch.zeros(1, *SHAPE)
    counts = {}
    for name, row in MEASURED.items():
        model = build(row.source)
        counts[name] = Complexity(
            count_parameters(model),
            count_macs(model, x),
            count_as_authors(model, x) if _is_lightvit(name) else None,
        )
    return counts


def complexity_table() -> Table:
    """Parameters and MACs of Table 3; measures no speed."""
    counts = complexities()
    rows = []
    for row in TABLE3:
        ours = [None] * 3
        if row.name in counts:
            count = counts[row.name]
            ours = [
                count.parameters / 1e6,
                count.multiply_adds / 1e9,
                count.as_authors and count.as_authors / 1e9,
            ]
        parameters, multiply_adds, as_authors = ours
        rows.append(
            [
                row.name,
                row.block,
                _decimals(parameters),
                str(row.parameters),
                difference(parameters, row.parameters),
                _decimals(multiply_adds),
                str(row.multiply_adds),
                difference(multiply_adds, row.multiply_adds),
                _decimals(as_authors),
            ]
        )
    return Table(
        'Table 3: parameters and MACs at 224 × 224',
        (
            'Model',
            'Block',
            'Params (M)',
            'Paper',
            'Difference',
            'MACs (G)',
            'Paper',
            'Difference',
            "By the authors' formula (G)",
        ),
        rows,
        [
            '–: neither timm nor mmpretrain has the model. The full count '
            'includes attention and leaves out norms and activations. The '
            "authors' formula counts less of LightViT's attention.",
            'Why other models differ: PVTv2-B0 and B1 have 3.7 and 14.0 M '
            'parameters in their published code and in timm (B0 has 3.4 M without '
            'its classifier). RegNetY-4G and Swin-T seem rounded up. MobileViT is '
            'published for 256 × 256, where S needs 2.0 G and XS 1.0 G; at '
            '224 × 224, S needs 1.5 G, not 1.1 G. Swin publishes 4.5 G for Swin-T.',
        ],
    )


@dataclass
class Speed:
    """Measured speed of a model.

    Args:
        throughput: Images per second at the batch size, one value per round.
        latency: Milliseconds for one image, one value per round.
        peak_memory: In megabytes (10^6 bytes), at the batch size.
    """

    throughput: list[float]
    latency: list[float]
    peak_memory: float


def _decimals(value: float | None) -> str | None:
    return None if value is None else f'{value:.3f}'


def speed_table(speeds: dict[str, Speed], conditions: dict) -> Table:
    """Speed and memory of Table 3.

    Args:
        speeds: The speed of each measured model, including LightViT-T.
        conditions: The ``settings`` of ``table3.json``.
    """
    reference = median(speeds[REFERENCE].throughput)
    published = MEASURED[REFERENCE].throughput
    rows = []
    for row in TABLE3:
        ours = [None] * 5
        if row.name in speeds:
            speed = speeds[row.name]
            throughput = median(speed.throughput)
            ours = [
                throughput,
                _spread(speed.throughput),
                f'{throughput / reference:.2f}',
                f'{median(speed.latency):.2f}',
                f'{speed.peak_memory:.0f}',
            ]
        throughput, deviation, ratio, latency, memory = ours
        rows.append(
            [
                row.name,
                row.block,
                throughput,
                deviation,
                ratio,
                f'{row.throughput / published:.2f}',
                row.throughput,
                latency,
                memory,
                str(row.top1),
            ]
        )
    return Table(
        'Table 3: speed at 224 × 224',
        (
            'Model',
            'Block',
            'Images/s',
            'Spread',
            f'Over {REFERENCE}',
            'In the paper',
            'Images/s on a V100, paper',
            'Latency of one image (ms)',
            'Peak memory (MB)',
            'Top-1 (%), published',
        ),
        rows,
        [
            _conditions_note(conditions),
            'Spread: the largest deviation of a round from the median. Peak '
            'memory: the weights, plus what one forward pass of a batch '
            'allocates. Top-1 is published, not measured. The weights are '
            'random, which does not affect speed. –: neither timm nor '
            'mmpretrain has the model.',
        ],
    )


def _spread(values: Sequence[float]) -> str | None:
    return f'±{spread(values):.1%}' if len(values) > 1 else None


def _conditions_note(conditions: dict) -> str:
    return (
        'Measured on {device}, threads {threads}, PyTorch {torch}, '
        'timm {timm}, {precision}, {mode}, batch size {batch_size}, '
        'rounds {rounds}. Values are medians; each round measures all models in turn.'
    ).format(**conditions)


def table3(options: Options) -> list[Table]:
    """Table 3: parameters, MACs and speed of LightViT and other models.

    Writes the results of each round to ``table3.json``.
    """
    return [complexity_table(), speed_table(*_measure_table3(options))]


def _setup(options: Options) -> Setup:
    return Setup(
        runtimes=['compiled' if options.compile else 'eager'],
        shape=SHAPE[1:],
        batch_sizes=[options.batch_size, 1],
        dtype=AMP_DTYPES[options.device] if options.amp else 'fp32',
        device=options.device,
        rounds=options.rounds,
    )


def _conditions(options: Options) -> dict:
    setup = _setup(options)
    dtype = str(DTYPES[setup.dtype]).replace('torch.', '')
    return dict(
        environment(setup.device),
        precision=f'mixed with {dtype}' if options.amp else dtype,
        mode=setup.runtimes[0],
        batch_size=options.batch_size,
        rounds=setup.rounds,
        timm=import_timm().__version__,
    )


def _measure_table3(options: Options) -> tuple[dict[str, Speed], dict]:
    conditions = _conditions(options)
    models = {name: build(row.source) for name, row in MEASURED.items()}
    results = {
        (result.model, result.batch_size): result
        for result in measure(models, _setup(options))
    }
    speeds = {}
    for name in models:
        batch, single = results[name, options.batch_size], results[name, 1]
        speeds[name] = Speed(
            throughput=batch.throughput,
            latency=[1e3 * seconds for seconds in single.seconds],
            peak_memory=batch.peak_memory / 1e6,
        )
    _write_json(
        options.out / 'table3.json',
        dict(
            settings=conditions,
            models={
                row.name: dict(
                    published=row._asdict(),
                    complexity=asdict(complexities()[row.name]),
                    speed=asdict(speeds[row.name]),
                )
                for row in MEASURED.values()
            },
        ),
    )
    return speeds, conditions


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + '\n')


# Figure 1


def figure1(options: Options) -> list[Table]:
    """Figure 1: top-1 over MACs and over throughput.

    Takes the throughput from ``table3.json`` if that was measured with the same
    settings. Otherwise measures it and writes that file. Draws ``figure1.png``.
    """
    conditions = _conditions(options)
    path = options.out / 'table3.json'
    saved = json.loads(path.read_text()) if path.is_file() else {}
    if saved.get('settings') == conditions:
        source = 'The throughput is that of table3.json.'
        speeds = {
            name: Speed(**model['speed']) for name, model in saved['models'].items()
        }
    else:
        source = 'The throughput was measured for this figure.'
        speeds, conditions = _measure_table3(options)

    throughputs = {name: median(speed.throughput) for name, speed in speeds.items()}
    draw_figure1(throughputs).savefig(options.out / 'figure1.png', dpi=150)
    rows = [
        [
            name,
            row.block,
            str(row.top1),
            _decimals(complexities()[name].multiply_adds / 1e9),
            throughputs[name],
        ]
        for name, row in MEASURED.items()
    ]
    return [
        Table(
            'Figure 1: accuracy over cost',
            ('Model', 'Block', 'Top-1 (%), published', 'MACs (G)', 'Images/s'),
            rows,
            [
                '![Top-1 over MACs and over throughput](figure1.png)',
                source + ' ' + _conditions_note(conditions),
                'MACs are the full count. SimViT, LVT and ResT are left out because '
                'neither timm nor mmpretrain has them.',
            ],
        )
    ]


def draw_figure1(throughputs: dict[str, float]) -> Figure:
    """Draw Figure 1.

    Args:
        throughputs: Images per second of each measured model.

    Returns:
        A figure with two axes. Each has one labelled line per type of block and
        one for LightViT.
    """
    multiply_adds = {
        name: count.multiply_adds / 1e9 for name, count in complexities().items()
    }
    series = {
        block: [
            name
            for name, row in MEASURED.items()
            if row.block == block and not _is_lightvit(name)
        ]
        for block in ('CNN', 'Hybrid', 'Transformer')
    }
    series['LightViT'] = [name for name in MEASURED if _is_lightvit(name)]
    styles = {
        'CNN': dict(marker='s', color='tab:gray', linestyle=''),
        'Hybrid': dict(marker='^', color='tab:blue', linestyle=''),
        'Transformer': dict(marker='o', color='tab:green', linestyle=''),
        'LightViT': dict(marker='*', color='tab:red', markersize=12),
    }
    labels = {  # offsets that keep labels of close points apart
        'CNN': dict(xytext=(-5, -9), ha='right'),
        'Hybrid': dict(xytext=(5, -9), ha='left'),
        'Transformer': dict(xytext=(5, 4), ha='left'),
        'LightViT': dict(xytext=(0, 9), ha='center'),
    }
    figure = Figure(figsize=(11, 4.5), layout='constrained')
    axes = figure.subplots(1, 2, sharey=True)
    for ax, values, label in zip(
        axes,
        (multiply_adds, throughputs),
        ('MACs (G)', 'Measured throughput (images/s)'),
    ):
        for block, names in series.items():
            points = [(values[name], MEASURED[name].top1) for name in names]
            ax.plot(*zip(*points), label=block, **styles[block])
            for name, point in zip(names, points):
                ax.annotate(
                    name,
                    point,
                    textcoords='offset points',
                    fontsize=7,
                    color=styles[block]['color'],
                    **labels[block],
                )
        ax.set_xlabel(label)
        ax.grid(alpha=0.3, which='both')
        ax.margins(x=0.15, y=0.1)
    axes[0].set_ylabel('Published ImageNet top-1 (%)')
    axes[0].legend(loc='lower right')
    axes[1].set_xscale('log')
    axes[1].xaxis.set_major_formatter('{x:g}')
    axes[1].xaxis.set_minor_formatter('{x:g}')
    return figure


# Figure 5a


class LightViTStage(nn.Module):
    """A stage of LightViT as one module.

    Args:
        layers: An entry of :attr:`LightViT.stages`.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, hw: HW) -> Tensor:
        """(B, T + N, C) -> the tokens after the stage."""
        for layer in self.layers:
            x, hw = layer(x, hw)
        return x


@dataclass
class Stage:
    """A part of a backbone.

    Args:
        name: 'stem', or the stride of the stage.
        module: The part.
        entry: The module that the network calls with the part's inputs.
    """

    name: str
    module: nn.Module
    entry: nn.Module


def split(model: nn.Module) -> list[Stage]:
    """The stem and the stages of LightViT, or of timm's PVTv2 or Swin.

    The stem is a separate part. A stage begins with the patch merging or embedding
    that leads to its stride.
    """
    if hasattr(model, 'backbone'):
        stem = model.backbone.patch_embed
        parts = [(LightViTStage(layers), layers[0]) for layers in model.backbone.stages]
    else:
        stem = model.patch_embed
        stages = model.layers if hasattr(model, 'layers') else model.stages
        parts = [(stage, stage) for stage in stages]
    strides = [32 >> i for i in reversed(range(len(parts)))]
    return [Stage('stem', stem, stem)] + [
        Stage(str(stride), module, entry)
        for stride, (module, entry) in zip(strides, parts)
    ]


def record_inputs(forward, stages: Sequence[Stage], x: Tensor) -> dict[str, tuple]:
    """The inputs of each stage during ``forward(x)``, by the name of the stage."""
    inputs = {}

    def keep(name: str, _: nn.Module, args: tuple) -> None:
        inputs[name] = args

    handles = [
        stage.entry.register_forward_pre_hook(partial(keep, stage.name))
        for stage in stages
    ]
    try:
        forward(x)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def count_stages(model: nn.Module) -> dict[str, int]:
    """MACs of the stem and of each stage for one image."""
    stages = split(model)
    inputs = record_inputs(torch.no_grad()(model), stages, torch.zeros(1, *SHAPE))
    return {
        stage.name: count_macs(stage.module, *inputs[stage.name]) for stage in stages
    }


def figure5a(options: Options) -> list[Table]:
    """Figure 5a: throughput and efficiency of each stage.

    Times each stage separately, on the inputs that it gets in the network. The stem
    is a separate entry for every model. Efficiency is images per second times MACs.
    Writes ``figure5a.json`` and draws ``figure5a.png``.
    """
    conditions = _conditions(options)
    counts, throughputs = _measure_stages(options)
    _write_json(
        options.out / 'figure5a.json',
        dict(
            settings=conditions,
            models={
                name: dict(multiply_adds=counts[name], throughput=throughputs[name])
                for name in STAGED
            },
        ),
    )
    medians = {
        name: {stage: median(values) for stage, values in stages.items()}
        for name, stages in throughputs.items()
    }
    draw_figure5a(counts, medians).savefig(options.out / 'figure5a.png', dpi=150)
    rows = [
        [
            name,
            stage,
            _decimals(count / 1e9),
            f'{count / sum(counts[name].values()):.0%}',
            medians[name][stage],
            _spread(throughputs[name][stage]),
            medians[name][stage] * count / 1e9,
        ]
        for name in STAGED
        for stage, count in counts[name].items()
    ]
    return [
        Table(
            'Figure 5a: stages at 224 × 224',
            (
                'Model',
                'Stride',
                'MACs (G)',
                'Of the backbone',
                'Images/s',
                'Spread',
                'Efficiency (GMACs/s)',
            ),
            rows,
            [
                '![Throughput and efficiency of each stage](figure5a.png)',
                _conditions_note(conditions),
                'Each stage is timed separately, on the inputs that it gets in '
                'the network. The stem is a separate entry for every model. A '
                'stage begins with its patch merging or embedding. Efficiency is '
                'images/s times MACs.',
            ],
        )
    ]


def _measure_stages(options: Options):
    """MACs and images/s of each round, per model and stage."""
    counts, calls = {}, {}
    setup = _setup(options)
    x = torch.randn(options.batch_size, *SHAPE, device=setup.device)
    for name in STAGED:
        model = build(MEASURED[name].source)
        counts[name] = count_stages(model)
        model.to(setup.device)
        stages = split(model)
        forward = prepare(model, setup.device, setup.dtype)
        inputs = record_inputs(forward, stages, x)
        for stage in stages:
            run = prepare(stage.module, setup.device, setup.dtype, options.compile)
            calls[name, stage.name] = partial(run, *inputs[stage.name])
    seconds = time_in_turn(calls, setup.rounds)
    throughputs = {
        name: {
            stage: [options.batch_size / s for s in seconds[name, stage]]
            for stage in counts[name]
        }
        for name in STAGED
    }
    return counts, throughputs


def draw_figure5a(
    counts: dict[str, dict[str, int]], throughputs: dict[str, dict[str, float]]
) -> Figure:
    """Draw Figure 5a.

    Args:
        counts: MACs of each stage of each model.
        throughputs: Images per second of each stage of each model.

    Returns:
        A figure with two axes: images per second on a logarithmic scale, and
        10^9 MACs per second. Each has one container of bars per model, labelled
        with its name.
    """
    strides = ('stem', '4', '8', '16', '32')
    efficiency = {
        name: {
            stage: value * counts[name][stage] / 1e9 for stage, value in stages.items()
        }
        for name, stages in throughputs.items()
    }
    figure = Figure(figsize=(9, 6.5), layout='constrained')
    axes = figure.subplots(2, 1, sharex=True)
    width = 0.8 / len(counts)
    for ax, values in zip(axes, (throughputs, efficiency)):
        for i, (name, stages) in enumerate(values.items()):
            offset = (i - (len(counts) - 1) / 2) * width
            ax.bar(
                [strides.index(stage) + offset for stage in stages],
                stages.values(),
                width,
                label=name,
                color=STAGED[name],
            )
        ax.grid(axis='y', alpha=0.3)
    axes[0].set_yscale('log')
    axes[0].set_ylabel('Throughput (images/s)')
    axes[0].legend(ncols=len(counts), fontsize=8)
    axes[1].set_ylabel('Efficiency (GMACs/s)')
    axes[1].set_xticks(range(len(strides)), strides)
    axes[1].set_xlabel('Stride of the stage')
    return figure
