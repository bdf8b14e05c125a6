"""Run a model in one of several runtimes, and measure its memory."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from operator import methodcaller
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.profiler import profile
from torch.utils._pytree import tree_flatten

from ..deploy.sessions import Session, open_onnxruntime, open_openvino
from ..installed import check_installed
from .plain import to_plain

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
DEVICES = ('cpu', 'cuda')
MODES = ('inference', 'training')
# The packages that each runtime needs in addition to PyTorch.
RUNTIMES: dict[str, tuple[str, ...]] = dict(
    plain=(),
    eager=(),
    compiled=(),
    onnxruntime=('onnx', 'onnxruntime'),
    openvino=('onnx', 'openvino'),
    int8=('onnx', 'onnxruntime', 'openvino'),
)


@dataclass(frozen=True)
class Setup:
    """How models are run and measured.

    Args:
        runtimes: Keys of :data:`RUNTIMES`. In PyTorch: 'eager', 'compiled'
            (``torch.compile``) and 'plain' (LightViT as the paper states it,
            step by step). With exported files: 'onnxruntime', 'openvino' and
            'int8' (static quantisation by onnxruntime, run by OpenVINO).
        mode: 'inference', or 'training' (forward, loss and backward).
        shape: Height and width of the images.
        batch_sizes: Numbers of images per batch.
        dtype: 'fp32', or 'bf16' or 'fp16' for mixed precision (autocast).
        device: 'cpu' or 'cuda'.
        rounds: Number of rounds. In each, all models are measured in turn.
        features: Measure only the backbones, with a map of each stage.
        with_cp: In training, recompute the layers of LightViT in the backward
            pass.

    Raises:
        ValueError: If a setting is invalid or the device is not available.
        ModuleNotFoundError: If a runtime is not installed.
    """

    runtimes: Sequence[str] = ('eager',)
    mode: str = 'inference'
    shape: tuple[int, int] = (224, 224)
    batch_sizes: Sequence[int] = (1, 16)
    dtype: str = 'fp32'
    device: str = 'cpu'
    rounds: int = 5
    features: bool = False
    with_cp: bool = False

    def __post_init__(self) -> None:
        choices = [('runtime', name, tuple(RUNTIMES)) for name in self.runtimes]
        choices += [
            ('mode', self.mode, MODES),
            ('dtype', self.dtype, tuple(DTYPES)),
            ('device', self.device, DEVICES),
        ]
        for name, value, known in choices:
            if value not in known:
                raise ValueError(f'{name}={value!r} should be one of {known}')
        numbers = [('shape', number) for number in self.shape]
        numbers += [('batch_size', number) for number in self.batch_sizes]
        for name, value in [*numbers, ('rounds', self.rounds)]:
            if value < 1:
                raise ValueError(f'{name}={value} should be at least 1')
        if self.device == 'cuda' and not torch.cuda.is_available():
            raise ValueError(
                "device='cuda' needs a GPU, but PyTorch finds none; choose 'cpu'"
            )
        if self.with_cp and self.mode != 'training':
            raise ValueError(
                "with_cp needs mode='training', but the mode is "
                f'{self.mode!r}; leave with_cp out'
            )
        basic = (self.mode, self.dtype, self.device) == ('inference', 'fp32', 'cpu')
        for name in self.runtimes:
            if RUNTIMES[name] and not basic:
                raise ValueError(
                    f'runtime={name!r} supports only inference in fp32 on cpu, not '
                    f'{self.mode} in {self.dtype} on {self.device}; '
                    "choose 'eager' or 'compiled'"
                )
            for package in RUNTIMES[name]:
                check_installed(package)


@dataclass
class RunningModel:
    """A model that is loaded in a runtime and ready to run.

    Args:
        run: Runs the model on images (B, 3, h, w). In inference it returns the
            outputs, in the types of the runtime; in training it returns None.
        size: Bytes of the parameters and buffers, or of the file.
        peak_memory: Measures the peak in bytes while the model runs on images.
            ``run`` must have been called on them before. Returns None if the
            system does not report it.
    """

    run: Callable[[Tensor], object]
    size: int
    peak_memory: Callable[[Tensor], int | None]


def start(runtime: str, model: nn.Module, setup: Setup, folder: Path) -> RunningModel:
    """Load a model in a runtime.

    Args:
        runtime: A key of :data:`RUNTIMES`.
        model: Model that takes images (B, 3, h, w). It is moved to the
            device and put into the mode of the setup.
        setup: All other settings.
        folder: Folder for the exported files of this model. A file from an
            earlier call is used again.
    """
    model.to(setup.device).train(setup.mode == 'training')
    if runtime == 'plain':
        model = to_plain(model)
    if RUNTIMES[runtime]:
        return _start_file(runtime, model, setup, folder)
    prepared = prepare_step if setup.mode == 'training' else prepare
    run = prepared(model, setup.device, setup.dtype, runtime == 'compiled')
    return RunningModel(
        run,
        weight_bytes(model),
        lambda x: peak_memory(model, partial(run, x), setup.device),
    )


# PyTorch


def prepare(
    model: nn.Module, device: str, dtype: str = 'fp32', compile: bool = False
) -> Callable:
    """A function that runs a model for inference; arguments as in :class:`Setup`."""
    forward = _compiled(model) if compile else model

    def run(*inputs):
        # Entered per call, so that each call casts the weights once, as usual.
        with torch.inference_mode(), _precision(device, dtype):
            return forward(*inputs)

    return run


def prepare_step(
    model: nn.Module, device: str, dtype: str = 'fp32', compile: bool = False
) -> Callable[[Tensor], None]:
    """A function that runs a training step without the optimizer.

    The step is forward, loss and backward. The loss is the cross-entropy with
    random labels if the output is (B, classes), otherwise the sum of the mean
    squares of all outputs.
    """
    forward = _compiled(model) if compile else model

    def step(images: Tensor) -> None:
        with _precision(device, dtype):
            loss = _loss(forward(images))
        loss.backward()
        # At the end, so that the peak of a step includes its gradients.
        model.zero_grad(set_to_none=True)

    return step


def _compiled(model: nn.Module) -> Callable:
    # All models of one class share this limit. Beyond it, they would silently
    # run uncompiled.
    torch._dynamo.config.cache_size_limit = 256
    return torch.compile(model, dynamic=False)


def _precision(device: str, dtype: str) -> AbstractContextManager:
    if dtype == 'fp32':
        return nullcontext()
    return torch.autocast(device, DTYPES[dtype])


def _loss(outputs) -> Tensor:
    if isinstance(outputs, Tensor) and outputs.dim() == 2:
        labels = torch.randint(
            outputs.shape[1], outputs.shape[:1], device=outputs.device
        )
        return F.cross_entropy(outputs, labels)
    tensors = tree_flatten(outputs)[0]
    return sum(x.float().square().mean() for x in tensors if x.requires_grad)


def weight_bytes(model: nn.Module) -> int:
    """Size of all parameters and buffers of a model in bytes."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)


def peak_memory(model: nn.Module, call: Callable[[], object], device: str) -> int:
    """Peak memory of a call in bytes, including the model.

    It counts parameters, buffers and what PyTorch allocates during the call. It
    does not count the inputs of the call, or memory that libraries such as
    oneDNN and cuDNN allocate themselves. The call must have run before.
    """
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        grown = torch.cuda.max_memory_allocated() - before
        return weight_bytes(model) + grown

    with profile(profile_memory=True) as profiler:
        call()
    events = [
        event
        for event in profiler.kineto_results.events()
        if event.name() == '[memory]'
    ]
    # Before PyTorch 2.4, events have no time in nanoseconds.
    is_new = hasattr(torch._C._autograd._KinetoEvent, 'start_ns')
    begin = methodcaller('start_ns' if is_new else 'start_us')
    held = peak = 0
    for event in sorted(events, key=begin):
        held += event.nbytes()
        peak = max(peak, held)
    return weight_bytes(model) + peak


# Exported files in other runtimes


def _start_file(
    runtime: str, model: nn.Module, setup: Setup, folder: Path
) -> RunningModel:
    path = folder / 'model.onnx'
    if not path.is_file():
        from ..deploy.export import to_onnx

        to_onnx(model, torch.zeros(2, 3, *setup.shape), path)
    if runtime == 'int8':
        path = _quantize(path, setup)
    threads = torch.get_num_threads()
    run = _open(runtime, path, threads)
    return RunningModel(
        lambda x: run(x.numpy()),
        path.stat().st_size,
        lambda x: _in_fresh_process(
            _resident_growth, runtime, path, threads, tuple(x.shape)
        ),
    )


def _quantize(source: Path, setup: Setup) -> Path:
    from ..deploy.int8 import quantize_onnx

    target = source.with_name('int8.onnx')
    # The content of the images does not affect speed.
    shape = (1, 3, *setup.shape)
    random = np.random.default_rng(0)
    quantize_onnx(source, target, [random.standard_normal(shape, np.float32)] * 2)
    return target


def _open(runtime: str, path: Path, threads: int) -> Session:
    # onnxruntime does not run int8 faster than float32.
    open_file = open_onnxruntime if runtime == 'onnxruntime' else open_openvino
    return open_file(path, threads)


def _in_fresh_process(function: Callable, *args):
    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        return executor.submit(function, *args).result()


def _resident_growth(
    runtime: str, path: Path, threads: int, shape: Sequence[int]
) -> int | None:
    """Growth of the process in bytes from before loading to the peak of a run.

    Memory that only loading needs is not included. None if the system does not
    report it.
    """
    clear = Path('/proc/self/clear_refs')
    if not clear.exists():
        return None
    images = np.ones(shape, np.float32)
    import_module(RUNTIMES[runtime][-1])  # its memory is not the model's
    before = _resident('VmRSS')
    run = _open(runtime, path, threads)
    clear.write_text('5')  # reset VmHWM
    run(images)
    return _resident('VmHWM') - before


def _resident(entry: str) -> int:
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'^{entry}:\s*(\d+) kB$', status, re.M)[1]) * 1024
