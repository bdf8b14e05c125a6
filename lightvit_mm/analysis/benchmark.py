"""Speed and memory of models, measured side by side.

All models take turns in every round. A machine that slows down or speeds up
therefore affects all of them alike.
"""

import platform
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.utils import ProgressBar, track_iter_progress
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from ..config import read_config
from ..files import ROOT
from ..installed import check_installed
from ..messages import close_to
from ..models.lightvit import LightViT
from ..trained import build_model
from .complexity import forward_tensors
from .report import Table
from .runtimes import DTYPES, RUNTIMES, Setup, start

# Building models by name


class DetectorForward(nn.Module):
    """Calls a model of mmdet with images only, without padding."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor):
        """Images (B, 3, h, w) -> the raw outputs of the heads."""
        return forward_tensors(self.model, x)


def build(
    name: str, shape: tuple[int, int] | None = None, features: bool = False
) -> nn.Module:
    """Build a model in evaluation mode with untrained weights.

    Nothing is downloaded: pretrained weights named in a config are ignored.

    Args:
        name: A model of timm such as ``'swin_tiny_patch4_window7_224'``, or
            a config of mmpretrain, mmdet or mmseg. The config is a path, or a
            library and a path in it, such as
            ``'lightvit_mm::lightvit_t_8xb128_in1k.py'``.
        shape: Height and width of the images, for models of timm that are
            built for one size. By default that size is the model's.
        features: Build only the backbone, with a map of each stage. LightViT
            returns all three; other backbones from configs return the stages
            that their config selects.

    Returns:
        A module that takes images (B, 3, h, w). A model from a config returns
        what ``mode='tensor'`` returns, or with ``features`` the maps of the
        backbone.

    Raises:
        ValueError: If timm has no model of that name, or the config defines no
            model.
        FileNotFoundError: If the config does not exist.
        ModuleNotFoundError: If the library is not installed.
    """
    if _is_config(name):
        return _build_config(name, features)
    timm = import_timm()
    if not timm.is_model(name):
        known = timm.list_models() + _own_configs()
        raise ValueError(
            f'{name!r} should be a model of timm or a config '
            f'PATH.py or LIBRARY::PATH.py{close_to(name, known)}'
        )
    options = {}
    if shape and timm.get_pretrained_cfg(name).fixed_input_size:
        options['img_size'] = tuple(shape)
    model = timm.create_model(name, features_only=features, **options)
    _fill_zeros(model)
    return model.eval()


def _fill_zeros(model: nn.Module) -> None:
    # If norms start at 0, exporters fold the weights before them to zeros, which
    # they store only once.
    for name, parameter in model.named_parameters():
        if name.endswith('weight') and not parameter.any():
            nn.init.normal_(parameter, std=0.02)


def _is_config(name: str) -> bool:
    return name.endswith('.py') or '::' in name


def import_timm():
    """Import timm, which has the models of other papers.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    check_installed('timm')
    import timm

    return timm


def _own_configs() -> list[str]:
    return [f'lightvit_mm::{path.name}' for path in (ROOT / 'configs').glob('*.py')]


def _build_config(name: str, features: bool) -> nn.Module:
    cfg = read_config(name)
    scope = cfg.get('default_scope')
    if scope is None or 'model' not in cfg:
        raise ValueError(
            f'config {name} should have a model and a '
            'default_scope that names its library'
        )
    check_installed(scope)
    if features:
        return _backbone(cfg, name)
    model = build_model(cfg)
    return DetectorForward(model).eval() if scope == 'mmdet' else model


def _backbone(cfg: Config, name: str) -> nn.Module:
    if 'backbone' not in cfg.model:
        raise ValueError(
            f'config {name} should have a model with a backbone '
            'to measure features; name another config or leave out features'
        )
    if cfg.model.backbone.type.endswith('LightViT'):
        cfg.model.backbone.update(out_indices=(0, 1, 2), out_type='featmap')
    return build_model(cfg).backbone


def build_all(names: Sequence[str], setup: Setup) -> dict[str, nn.Module]:
    """Build the models to measure, and check that each accepts the images.

    Args:
        names: Names of models; see :func:`build`.
        setup: How the models will be measured.

    Raises:
        ValueError: If a model does not accept images of the setup's shape, or
            an option needs a LightViT and no model has one. Other errors are
            those of :func:`build`.
    """
    models = {name: build(name, setup.shape, setup.features) for name in names}
    backbones = [
        backbone for model in models.values() for backbone in _lightvits(model)
    ]
    for option, chosen in (
        ('plain', 'plain' in setup.runtimes),
        ('with_cp', setup.with_cp),
    ):
        if chosen and not backbones:
            raise ValueError(
                f'{option} needs a LightViT, but none of '
                f'{", ".join(names)} has one; leave it out'
            )
    for backbone in backbones:
        backbone.with_cp = setup.with_cp
    for name, model in models.items():
        _check_shape(name, model, setup.shape)
    return models


def _lightvits(model: nn.Module) -> list[LightViT]:
    return [m for m in model.modules() if isinstance(m, LightViT)]


def _check_shape(name: str, model: nn.Module, shape: tuple[int, int]) -> None:
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 3, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(
            f'{name} does not accept images of {shape[0]} x {shape[1]}; choose '
            f'another shape or leave the model out: {reason}'
        ) from error


# Measuring speed and memory


@dataclass
class Result:
    """Measurements of one model in one runtime at one batch size.

    Args:
        model: Name of the model.
        runtime: A key of :data:`.runtimes.RUNTIMES`.
        batch_size: Images per batch.
        seconds: Seconds per batch, one value per round.
        peak_memory: Bytes; see :class:`.runtimes.RunningModel`.
        size: Bytes; see :class:`.runtimes.RunningModel`.
    """

    model: str
    runtime: str
    batch_size: int
    seconds: list[float]
    peak_memory: int | None
    size: int

    @property
    def throughput(self) -> list[float]:
        """Images per second, one value per round."""
        return [self.batch_size / s for s in self.seconds]


def spread(values: Sequence[float]) -> float:
    """The largest deviation from the median, relative to the median."""
    middle = median(values)
    return max(abs(value / middle - 1) for value in values)


def measure(models: dict[str, nn.Module], setup: Setup) -> list[Result]:
    """Measure models on random images.

    Args:
        models: Models by name. They are moved to the device.
        setup: How to measure. Models without LightViT skip the runtime 'plain'.

    Returns:
        One result per model, runtime and batch size. The order is by model,
        then runtime, then batch size, as given.
    """
    images = torch.randn(max(setup.batch_sizes), 3, *setup.shape, device=setup.device)
    with TemporaryDirectory() as folder:
        pairs = [
            (name, runtime)
            for name, model in models.items()
            for runtime in setup.runtimes
            if runtime != 'plain' or _lightvits(model)
        ]
        folders = {name: Path(folder, str(i)) for i, name in enumerate(models)}
        running = {
            (name, runtime): start(runtime, models[name], setup, folders[name])
            for name, runtime in track_iter_progress(pairs)
        }
        calls, memory = {}, {}
        keys = [(pair, n) for pair in pairs for n in setup.batch_sizes]
        for pair, n in track_iter_progress(keys):
            calls[pair, n] = call = partial(_run, running[pair].run, images[:n])
            call()
            memory[pair, n] = running[pair].peak_memory(images[:n])
        seconds = time_in_turn(calls, setup.rounds)
    return [
        Result(*pair, n, seconds[pair, n], memory[pair, n], running[pair].size)
        for pair, n in calls
    ]


def _run(run: Callable[[Tensor], object], images: Tensor) -> None:
    """Run, and wait for a single image; on CUDA, larger batches may overlap."""
    run(images)
    if images.is_cuda and len(images) == 1:
        torch.cuda.synchronize()


def time_in_turn(
    calls: dict[Hashable, Callable[[], object]], rounds: int
) -> dict[Hashable, list[float]]:
    """Time functions without arguments.

    Each is first called once to warm up or compile. Then all are timed in turn,
    round after round.

    Returns:
        Seconds per call of each function, one value per round.
    """
    for call in calls.values():
        call()
    seconds = {key: [] for key in calls}
    bar = ProgressBar(rounds * len(calls))
    for _ in range(rounds):
        for key, call in calls.items():
            seconds[key].append(seconds_per_call(call))
            bar.update()
    bar.file.write('\n')
    return seconds


def seconds_per_call(call: Callable[[], object], min_run_time: float = 0.3) -> float:
    """The median time of a call, over calls that fill ``min_run_time`` seconds.

    At least one call warms up before. CUDA is synchronised at the end.
    """
    timer = Timer(
        'call()', globals=dict(call=call), num_threads=torch.get_num_threads()
    )
    return timer.blocked_autorange(min_run_time=min_run_time).median


def environment(device: str) -> dict[str, str | int]:
    """Name of the device, number of threads and version of PyTorch."""
    name = torch.cuda.get_device_name() if device == 'cuda' else _cpu_name()
    return dict(device=name, threads=torch.get_num_threads(), torch=torch.__version__)


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    name = re.search(r'^model name\s*: (.+)$', text, re.MULTILINE)
    return name.group(1) if name else platform.machine()


# Reporting


def to_json(results: Sequence[Result], setup: Setup) -> dict:
    """All results for JSON: settings, versions and every round."""
    return dict(
        environment=environment(setup.device),
        versions=_versions(results, setup),
        setup=asdict(setup),
        results=[asdict(result) for result in results],
    )


def _versions(results: Sequence[Result], setup: Setup) -> dict[str, str]:
    packages = {package for runtime in setup.runtimes for package in RUNTIMES[runtime]}
    if not all(_is_config(result.model) for result in results):
        packages.add('timm')
    return {package: version(package) for package in sorted(packages)}


def tables(results: Sequence[Result], setup: Setup) -> list[Table]:
    """One table per batch size, with one row per model and runtime."""
    by_key = {(r.model, r.runtime, r.batch_size): r for r in results}
    made = []
    for n in setup.batch_sizes:
        rows = []
        for result in results:
            if result.batch_size != n:
                continue
            plain = by_key.get((result.model, 'plain', n))
            memory = result.peak_memory
            rows.append(
                [
                    label(result.model),
                    result.runtime,
                    f'{1e3 * median(result.seconds):.2f}',
                    f'{median(result.throughput):.1f}',
                    (f'±{spread(result.throughput):.1%}' if setup.rounds > 1 else None),
                    None if memory is None else f'{memory / 1e6:.0f}',
                    f'{result.size / 1e6:.1f}',
                    None if plain is None else f'{_ratio(result, plain):.2f}',
                ]
            )
        made.append(
            Table(
                f'{setup.mode.capitalize()}, batch size {n}',
                (
                    'Model',
                    'Runtime',
                    'Batch (ms)',
                    'Images/s',
                    'Spread',
                    'Peak memory (MB)',
                    'On disk (MB)',
                    'Over plain',
                ),
                rows,
            )
        )
    made[-1].notes += _notes(results, setup)
    return made


def _ratio(result: Result, plain: Result) -> float:
    """The median ratio per round, because conditions are stable within a round."""
    return median(p / s for p, s in zip(plain.seconds, result.seconds))


def label(name: str) -> str:
    """The name of a model without library, folder and .py."""
    return re.sub(r'^.*[:/]|\.py$', '', name)


def _notes(results: Sequence[Result], setup: Setup) -> list[str]:
    env = environment(setup.device)
    dtype = str(DTYPES[setup.dtype]).replace('torch.', '')
    versions = ''.join(
        f', {package} {number}' for package, number in _versions(results, setup).items()
    )
    files = [runtime for runtime in setup.runtimes if RUNTIMES[runtime]]
    what = ' of backbones with maps of all stages' if setup.features else ''
    notes = [
        f'Measured on {env["device"]}, threads {env["threads"]}, PyTorch '
        f'{env["torch"]}{versions}; {setup.mode}{what} at {setup.shape[0]} × '
        f'{setup.shape[1]} in {"" if setup.dtype == "fp32" else "mixed "}'
        f'{dtype}, rounds {setup.rounds}. Numbers are medians of the rounds; in each '
        'round, all models take turns.',
        'Spread: the largest deviation of a round from the median. Peak '
        'memory: the weights and all that PyTorch holds during a batch, '
        'without its images. On disk: parameters and buffers.',
    ]
    if files:
        notes.append(
            f'In {", ".join(files)}: peak memory is the growth of the '
            "process's resident memory from before the model is loaded to "
            "the peak of a batch, including the runtime's code; on disk is "
            'the file.'
        )
    if 'int8' in files:
        notes.append(
            'int8: static quantisation by onnxruntime, run by OpenVINO, '
            'calibrated on random images because only speed is measured.'
        )
    if setup.mode == 'training':
        notes.append(
            'A training step is forward, loss and backward, without the optimizer.'
        )
    if setup.with_cp:
        notes.append(
            'LightViT recomputes its layers in the backward pass '
            '(with_cp); plain does not.'
        )
    if 'plain' in setup.runtimes:
        notes.append(
            'plain: LightViT as the paper states it, step by step, in '
            'eager PyTorch. Over plain: images/s divided by those of plain '
            'in the same round; the median of the rounds.'
        )
    return notes


def draw_throughput(results: Sequence[Result], setup: Setup) -> Figure:
    """Draw images per second as bars.

    Returns:
        A figure with one axes per batch size. Each axes has one container of
        bars per runtime, labelled with the runtime. It has one bar per model
        that was measured there, from top to bottom in the order of the results.
        A bar shows the median, its error bar the slowest and the fastest round.
    """
    names = list(dict.fromkeys(result.model for result in results))
    count = len(setup.runtimes)
    figure = Figure(
        figsize=(3 + 4 * len(setup.batch_sizes), 1.5 + 0.2 * len(names) * (count + 1)),
        layout='constrained',
    )
    row = figure.subplots(1, len(setup.batch_sizes), sharey=True, squeeze=False)[0]
    for ax, n in zip(row, setup.batch_sizes):
        for i, runtime in enumerate(setup.runtimes):
            rates = {
                names.index(result.model): result.throughput
                for result in results
                if (result.runtime, result.batch_size) == (runtime, n)
            }
            offset = 0.8 * ((i + 0.5) / count - 0.5)
            middle = [median(rate) for rate in rates.values()]
            below = [m - min(r) for m, r in zip(middle, rates.values())]
            above = [max(r) - m for m, r in zip(middle, rates.values())]
            ax.barh(
                [y + offset for y in rates],
                middle,
                0.8 / count,
                xerr=[below, above],
                label=runtime,
            )
        ax.set_title(f'Batch size {n}')
        ax.set_xlabel('Images/s')
        ax.grid(axis='x', alpha=0.3)
    row[0].set_yticks(range(len(names)), [label(name) for name in names])
    row[0].invert_yaxis()
    figure.legend(
        *row[0].get_legend_handles_labels(),
        loc='outside upper center',
        ncols=count,
        fontsize=8,
    )
    return figure
