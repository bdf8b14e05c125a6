"""Speed and memory of models, measured side by side.

All models take turns in every round, so that a machine that slows down or
speeds up meanwhile does so for all of them alike.
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

from ..config import ROOT, check_installed, close_to, read_config
from ..models.lightvit import LightViT
from ..trained import build_model
from .complexity import forward_tensors
from .report import Table
from .runtimes import DTYPES, RUNTIMES, Setup, start

# Models by their names


class Detector(nn.Module):
    """Calls a model of mmdet with images alone, none of them padded."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor):
        """Images (B, 3, h, w) -> the raw outputs of the heads."""
        return forward_tensors(self.model, x)


def build(
    name: str, shape: tuple[int, int] | None = None, features: bool = False
) -> nn.Module:
    """Build a model in evaluation mode, its weights untrained.

    Nothing is downloaded: pretrained weights that a config asks for are
    left out.

    Args:
        name: A model of timm such as ``'swin_tiny_patch4_window7_224'``, or
            a config of mmpretrain, mmdet or mmseg: its path, or as
            ``'lightvit_mm::lightvit_t_8xb128_in1k.py'`` its library and its
            path there.
        shape: Height and width of the images, for models of timm that are
            built for one size; by default their own.
        features: The backbone alone, with a map of each of its stages. Of
            LightViT these are all three; other backbones of configs give
            what their config says.

    Returns:
        A module that takes images (B, 3, h, w). A model from a config gives
        what ``mode='tensor'`` gives, or with ``features`` the backbone's
        maps.

    Raises:
        ValueError: If timm has no model of that name, or the config no
            model.
        FileNotFoundError: If there is no such config.
        ModuleNotFoundError: If its library is not installed.
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
    # Norms that start at 0 would let exporters store zeros for the weights
    # before them, and only once.
    for name, parameter in model.named_parameters():
        if name.endswith('weight') and not parameter.any():
            nn.init.normal_(parameter, std=0.02)


def _is_config(name: str) -> bool:
    return name.endswith('.py') or '::' in name


def import_timm():
    """The module timm, which has the models of other papers.

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
    return Detector(model).eval() if scope == 'mmdet' else model


def _backbone(cfg: Config, name: str) -> nn.Module:
    if 'backbone' not in cfg.model:
        raise ValueError(
            f'config {name} should have a model with a backbone, '
            'of which to measure the features'
        )
    if cfg.model.backbone.type.endswith('LightViT'):
        cfg.model.backbone.update(out_indices=(0, 1, 2), out_type='featmap')
    return build_model(cfg).backbone


def build_all(names: Sequence[str], setup: Setup) -> dict[str, nn.Module]:
    """Build the models to measure and try each on an image.

    Args:
        names: As :func:`build` takes them.
        setup: How they are going to be measured.

    Raises:
        ValueError: If a model cannot take such images, or none has what an
            option is for; else as :func:`build`.
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
                f'{option} is for LightViT, and none of '
                f'{", ".join(names)} has it; leave it out'
            )
    for backbone in backbones:
        backbone.with_cp = setup.with_cp
    for name, model in models.items():
        _try(name, model, setup.shape)
    return models


def _lightvits(model: nn.Module) -> list[LightViT]:
    return [m for m in model.modules() if isinstance(m, LightViT)]


def _try(name: str, model: nn.Module, shape: tuple[int, int]) -> None:
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 3, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(
            f'{name} cannot take images of {shape[0]} x {shape[1]}; choose '
            f'another shape or leave it out: {reason}'
        ) from error


# Speed and memory


@dataclass
class Result:
    """What was measured of a model in a runtime at a batch size.

    Args:
        model: Its name.
        runtime: A key of :data:`.runtimes.RUNTIMES`.
        batch_size: Images of a batch.
        seconds: Per batch, one per round.
        peak_memory: In bytes; see :class:`.runtimes.Runner`.
        size: In bytes; see :class:`.runtimes.Runner`.
    """

    model: str
    runtime: str
    batch_size: int
    seconds: list[float]
    peak_memory: int | None
    size: int

    @property
    def throughput(self) -> list[float]:
        """Images per second, one per round."""
        return [self.batch_size / s for s in self.seconds]


def spread(values: Sequence[float]) -> float:
    """The largest deviation from the median, as a share of it."""
    middle = median(values)
    return max(abs(value / middle - 1) for value in values)


def measure(models: dict[str, nn.Module], setup: Setup) -> list[Result]:
    """Measure models on random images.

    Args:
        models: Models by any names. They are moved to the device.
        setup: How. The runtime 'plain' is left out for models without
            LightViT.

    Returns:
        By model, then runtime, then batch size, in the given order.
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
        runners = {
            (name, runtime): start(runtime, models[name], setup, folders[name])
            for name, runtime in track_iter_progress(pairs)
        }
        calls, memory = {}, {}
        keys = [(pair, n) for pair in pairs for n in setup.batch_sizes]
        for pair, n in track_iter_progress(keys):
            calls[pair, n] = call = partial(_run, runners[pair].run, images[:n])
            call()
            memory[pair, n] = runners[pair].peak_memory(images[:n])
        seconds = time_in_turn(calls, setup.rounds)
    return [
        Result(*pair, n, seconds[pair, n], memory[pair, n], runners[pair].size)
        for pair, n in calls
    ]


def _run(run: Callable[[Tensor], object], images: Tensor) -> None:
    """One image is waited for; on CUDA, larger batches may overlap."""
    run(images)
    if images.is_cuda and len(images) == 1:
        torch.cuda.synchronize()


def time_in_turn(
    calls: dict[Hashable, Callable[[], object]], rounds: int
) -> dict[Hashable, list[float]]:
    """Time functions of no arguments.

    Each is called once to warm up, or to compile. Then all are timed in turn
    in every round.

    Returns:
        Seconds per call of each function, one per round.
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
    """The median over calls for at least that many seconds.

    At least one call precedes them. CUDA is synchronised at their end.
    """
    timer = Timer(
        'call()', globals=dict(call=call), num_threads=torch.get_num_threads()
    )
    return timer.blocked_autorange(min_run_time=min_run_time).median


def environment(device: str) -> dict[str, str | int]:
    """The device by its name, PyTorch and its threads."""
    name = torch.cuda.get_device_name() if device == 'cuda' else _cpu_name()
    return dict(device=name, threads=torch.get_num_threads(), torch=torch.__version__)


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    name = re.search(r'^model name\s*: (.+)$', text, re.MULTILINE)
    return name.group(1) if name else platform.machine()


# What was measured, to be read


def report(results: Sequence[Result], setup: Setup) -> dict:
    """All of it, for JSON: settings, versions and every round."""
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
    """A table per batch size, a line per model and runtime."""
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
    """Each round by itself, for in a round the machine is much the same."""
    return median(p / s for p, s in zip(plain.seconds, result.seconds))


def label(name: str) -> str:
    """A model's name without library, folder and .py."""
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
        f'{dtype}, rounds {setup.rounds}: medians, all taking turns in each '
        'round.',
        'Spread: the largest deviation of a round from the median. Peak '
        'memory: weights, and all that PyTorch holds during a batch beside '
        'its images. On disk: parameters and buffers.',
    ]
    if files:
        notes.append(
            f'Of {", ".join(files)}: peak memory is the growth of a '
            "process's resident memory from before the model is loaded to "
            "the peak of a batch, the runtime's own code in it; on disk is "
            'the file.'
        )
    if 'int8' in files:
        notes.append(
            'int8: static quantisation, calibrated on random images '
            'as speed alone is measured, run by OpenVINO.'
        )
    if setup.mode == 'training':
        notes.append(
            'A training step is forward, loss and backward, without the optimizer.'
        )
    if setup.with_cp:
        notes.append(
            'LightViT recomputes its blocks in the backward pass '
            '(with_cp), its plain statement does not.'
        )
    if 'plain' in setup.runtimes:
        notes.append(
            'plain: LightViT as the paper states it, step by step, '
            'run eagerly. Over plain: images/s over those of it, '
            'the median of the rounds.'
        )
    return notes


def draw(results: Sequence[Result], setup: Setup) -> Figure:
    """Draw images per second.

    Returns:
        A figure of one axes per batch size. Each has a container of bars per
        runtime, labelled by it, with a bar per model that has it in their
        order from top to bottom: the median, and a line from the least round
        to the greatest.
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
