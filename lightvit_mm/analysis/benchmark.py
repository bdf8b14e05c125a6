"""Speed and memory of models, measured side by side.

All models take turns in every round, so that a machine that slows down or
speeds up meanwhile does so for all of them alike.
"""
import platform
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Callable, Dict, Hashable, List, Sequence, Union

import torch
from mmengine.utils import ProgressBar
from torch import Tensor, nn
from torch.autograd.profiler import profile
from torch.utils.benchmark import Timer

from ..hub import ROOT, check_installed, close_to, read_config
from .models import build_model, forward_tensors

AMP_DTYPES = dict(cpu=torch.bfloat16, cuda=torch.float16)

# Models by their names


class Detector(nn.Module):
    """Calls a model of mmdet with images alone, none of them padded."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor):
        """Images (B, 3, h, w) -> the raw outputs of the heads."""
        return forward_tensors(self.model, x)


def build(name: str) -> nn.Module:
    """Build a model in evaluation mode, its weights untrained.

    Nothing is downloaded: pretrained weights that a config asks for are
    left out.

    Args:
        name: A model of timm such as ``'swin_tiny_patch4_window7_224'``, or
            a config of mmpretrain, mmdet or mmseg: its path, or as
            ``'lightvit_mm::lightvit_t_8xb128_in1k.py'`` its library and its
            path there.

    Returns:
        A module that takes images (B, 3, h, w). A model from a config gives
        what ``mode='tensor'`` gives.

    Raises:
        ValueError: If timm has no model of that name.
        FileNotFoundError: If there is no such config.
        ModuleNotFoundError: If its library is not installed.
    """
    if name.endswith('.py') or '::' in name:
        return _build_config(name)
    timm = import_timm()
    if not timm.is_model(name):
        known = timm.list_models() + _own_configs()
        raise ValueError(f'{name!r} should be a model of timm or a config '
                         f'PATH.py or LIBRARY::PATH.py{close_to(name, known)}')
    return timm.create_model(name).eval()


def import_timm():
    """The module timm, which has the models of other papers.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    check_installed('timm')
    import timm
    return timm


def _own_configs() -> List[str]:
    return [
        f'lightvit_mm::{path.name}' for path in (ROOT / 'configs').glob('*.py')
    ]


def _build_config(name: str) -> nn.Module:
    cfg = read_config(name)
    scope = cfg.get('default_scope')
    if scope is None or 'model' not in cfg:
        raise ValueError(f'config {name} should have a model and a '
                         'default_scope that names its library')
    check_installed(scope)
    model = build_model(cfg)
    return Detector(model).eval() if scope == 'mmdet' else model


# Speed and memory


@dataclass
class Speed:
    """What was measured of a model.

    Args:
        throughput: Images per second at the batch size, one per round.
        latency: Milliseconds for one image, one per round.
        peak_memory: See :func:`peak_memory`, in megabytes of 10^6 bytes, at
            the batch size.
    """

    throughput: List[float]
    latency: List[float]
    peak_memory: float


def spread(values: Sequence[float]) -> float:
    """The largest deviation from the median, as a share of it."""
    middle = median(values)
    return max(abs(value / middle - 1) for value in values)


def measure(models: Dict[str, nn.Module],
            shape: Sequence[int] = (3, 224, 224),
            batch_size: int = 16,
            rounds: int = 5,
            device: str = 'cpu',
            amp: bool = False,
            compile: bool = False) -> Dict[str, Speed]:
    """Measure models on random images.

    Args:
        models: Models in evaluation mode, by any names. They are moved to
            the device.
        shape: Channels, height and width of an image.
        batch_size: Images of a batch when throughput is measured.
        rounds: Rounds in which all models are measured in turn.
        device: 'cpu' or 'cuda'.
        amp: Mixed precision: bfloat16 on CPU and float16 on CUDA.
        compile: Measure what ``torch.compile`` makes of the models.

    Returns:
        The speed of each model.

    Raises:
        ValueError: If a number is below 1 or the device is not there.
    """
    for name, value in (('batch_size', batch_size), ('rounds', rounds)):
        if value < 1:
            raise ValueError(f'{name}={value} should be at least 1')
    _check_device(device)
    images = torch.randn(batch_size, *shape, device=device)
    calls = {}
    for name, model in models.items():
        run = prepare(model.to(device), device, amp, compile)
        calls[name, 'batch'] = partial(run, images)
        calls[name, 'image'] = partial(_run_to_end, run, images[:1])
    seconds = time_in_turn(calls, rounds)
    return {
        name: Speed(
            throughput=[batch_size / s for s in seconds[name, 'batch']],
            latency=[1e3 * s for s in seconds[name, 'image']],
            peak_memory=peak_memory(model, calls[name, 'batch'], device) / 1e6)
        for name, model in models.items()
    }


def _run_to_end(run: Callable, x: Tensor) -> None:
    """Waits for CUDA, where batches of images may overlap."""
    run(x)
    if x.is_cuda:
        torch.cuda.synchronize()


def prepare(model: nn.Module, device: str, amp: bool,
            compile: bool) -> Callable:
    """A function that runs a model for inference; see :func:`measure`."""
    forward = model
    if compile:
        forward = torch.compile(model, dynamic=False)
        # Models of one class share a limit, behind which they would
        # silently run as they are.
        torch._dynamo.config.cache_size_limit = 256

    def run(*inputs):
        # Per call, as a forward pass casts its weights once.
        with torch.inference_mode(), torch.autocast(
                device, AMP_DTYPES[device], enabled=amp):
            return forward(*inputs)

    return run


def time_in_turn(calls: Dict[Hashable, Callable[[], object]],
                 rounds: int) -> Dict[Hashable, List[float]]:
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


def seconds_per_call(call: Callable[[], object],
                     min_run_time: float = 0.3) -> float:
    """The median over calls for at least that many seconds.

    At least one call precedes them. CUDA is synchronised at their end.
    """
    timer = Timer(
        'call()',
        globals=dict(call=call),
        num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=min_run_time).median


def peak_memory(model: nn.Module, call: Callable[[], object],
                device: str) -> int:
    """Bytes of a model and of all that one call holds at its peak.

    Parameters and buffers, and what PyTorch allocates; not the call's
    inputs, nor what oneDNN, cuDNN and the like take for themselves. The call
    has run before.
    """
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(t.numel() * t.element_size() for t in tensors)
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return weights + torch.cuda.max_memory_allocated() - before

    with profile(profile_memory=True) as profiler:
        call()
    events = [
        event for event in profiler.kineto_results.events()
        if event.name() == '[memory]'
    ]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return weights + peak


def settings(batch_size: int, rounds: int, device: str, amp: bool,
             compile: bool) -> Dict[str, Union[str, int]]:
    """What decides over speed: PyTorch, its device and :func:`measure`'s."""
    _check_device(device)
    name = torch.cuda.get_device_name() if device == 'cuda' else _cpu_name()
    dtype = str(AMP_DTYPES[device]).replace('torch.', '')
    return dict(
        device=name,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        precision=f'mixed with {dtype}' if amp else 'float32',
        mode='compiled' if compile else 'eager',
        batch_size=batch_size,
        rounds=rounds)


def _check_device(device: str) -> None:
    if device not in AMP_DTYPES:
        raise ValueError(
            f'device={device!r} should be one of {tuple(AMP_DTYPES)}')
    if device == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'device={device!r} needs a GPU that PyTorch can '
                         "use, and there is none; choose 'cpu'")


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    name = re.search(r'^model name\s*: (.+)$', text, re.MULTILINE)
    return name.group(1) if name else platform.machine()
