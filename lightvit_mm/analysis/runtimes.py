"""A model in one of several runtimes, ready to run and to be weighed."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from operator import methodcaller
from pathlib import Path
from typing import ContextManager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.profiler import profile
from torch.utils._pytree import tree_flatten

from ..config import check_installed
from ..deploy.sessions import Session, open_onnxruntime, open_openvino
from .plain import state_plainly

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
DEVICES = ('cpu', 'cuda')
MODES = ('inference', 'training')
# Packages that each needs beside PyTorch.
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
        runtimes: Any of 'eager' and 'compiled' (``torch.compile``), which
            are PyTorch, 'plain', which is LightViT in its plain statement,
            eager, and 'onnxruntime', 'openvino' and 'int8' (static
            quantisation by onnxruntime, run by OpenVINO), which run a file.
        mode: 'inference', or 'training': forward, loss and backward.
        shape: Height and width of an image.
        batch_sizes: Images of a batch.
        dtype: 'fp32', or 'bf16' or 'fp16' for mixed precision (autocast).
        device: 'cpu' or 'cuda'.
        rounds: Rounds in which all is measured in turn.
        features: Backbones alone, with a map of each stage.
        with_cp: In training, LightViT recomputes its blocks in the backward
            pass.

    Raises:
        ValueError: If a setting is out of its range, or the device is not
            there.
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
                "device='cuda' needs a GPU that PyTorch can "
                "use, and there is none; choose 'cpu'"
            )
        if self.with_cp and self.mode != 'training':
            raise ValueError(
                "with_cp is for mode='training', not for "
                f'mode={self.mode!r}; leave it out'
            )
        basic = (self.mode, self.dtype, self.device) == ('inference', 'fp32', 'cpu')
        for name in self.runtimes:
            if RUNTIMES[name] and not basic:
                raise ValueError(
                    f'runtime={name!r} is for inference in fp32 on cpu, not '
                    f'for {self.mode} in {self.dtype} on {self.device}; '
                    "choose 'eager' or 'compiled'"
                )
            for package in RUNTIMES[name]:
                check_installed(package)


@dataclass
class Runner:
    """A model in a runtime.

    Args:
        run: Runs it on images (B, 3, h, w). Inference gives the outputs, in
            the types of the runtime; training gives None.
        size: Bytes of its parameters and buffers, or of its file.
        peak_memory: Bytes that it holds at most while it runs on images,
            which it has done before; None where the system does not tell.
    """

    run: Callable[[Tensor], object]
    size: int
    peak_memory: Callable[[Tensor], int | None]


def start(runtime: str, model: nn.Module, setup: Setup, folder: Path) -> Runner:
    """Bring a model into a runtime.

    Args:
        runtime: A key of :data:`RUNTIMES`.
        model: Model that takes images (B, 3, h, w). It is moved to the
            device and put into the mode of the setup.
        setup: All else that decides over speed.
        folder: Where the model's files are; a file of an earlier call for
            the same model is used again.
    """
    model.to(setup.device).train(setup.mode == 'training')
    if runtime == 'plain':
        model = state_plainly(model)
    if RUNTIMES[runtime]:
        return _start_file(runtime, model, setup, folder)
    prepared = prepare_step if setup.mode == 'training' else prepare
    run = prepared(model, setup.device, setup.dtype, runtime == 'compiled')
    return Runner(
        run,
        weight_bytes(model),
        lambda x: peak_memory(model, partial(run, x), setup.device),
    )


# PyTorch


def prepare(
    model: nn.Module, device: str, dtype: str = 'fp32', compile: bool = False
) -> Callable:
    """A function that runs a model for inference; see :class:`Setup`."""
    forward = _compiled(model) if compile else model

    def run(*inputs):
        # Per call, as a forward pass casts its weights once.
        with torch.inference_mode(), _precision(device, dtype):
            return forward(*inputs)

    return run


def prepare_step(
    model: nn.Module, device: str, dtype: str = 'fp32', compile: bool = False
) -> Callable[[Tensor], None]:
    """A function that runs a training step without its optimizer.

    Forward, a loss and backward: the cross-entropy of random labels if the
    output is (B, classes), else the mean squares of all outputs.
    """
    forward = _compiled(model) if compile else model

    def step(images: Tensor) -> None:
        with _precision(device, dtype):
            loss = _loss(forward(images))
        loss.backward()
        # At the end, so that a step's peak has its gradients in it.
        model.zero_grad(set_to_none=True)

    return step


def _compiled(model: nn.Module) -> Callable:
    # Models of one class share a limit, behind which they would silently
    # run as they are.
    torch._dynamo.config.cache_size_limit = 256
    return torch.compile(model, dynamic=False)


def _precision(device: str, dtype: str) -> ContextManager:
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
    """Bytes of all parameters and buffers of a model."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors)


def peak_memory(model: nn.Module, call: Callable[[], object], device: str) -> int:
    """Bytes of a model and of all that one call holds at its peak.

    Parameters and buffers, and what PyTorch allocates; not the call's
    inputs, nor what oneDNN, cuDNN and the like take for themselves. The call
    has run before.
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
    # Before PyTorch 2.4 they have no nanoseconds.
    is_new = hasattr(torch._C._autograd._KinetoEvent, 'start_ns')
    begin = methodcaller('start_ns' if is_new else 'start_us')
    held = peak = 0
    for event in sorted(events, key=begin):
        held += event.nbytes()
        peak = max(peak, held)
    return weight_bytes(model) + peak


# Files in other runtimes


def _start_file(runtime: str, model: nn.Module, setup: Setup, folder: Path) -> Runner:
    path = folder / 'model.onnx'
    if not path.is_file():
        from ..deploy.export import to_onnx

        to_onnx(model, torch.zeros(2, 3, *setup.shape), path)
    if runtime == 'int8':
        path = _quantize(path, setup)
    threads = torch.get_num_threads()
    run = _load(runtime, path, threads)
    return Runner(
        lambda x: run(x.numpy()),
        path.stat().st_size,
        lambda x: _in_fresh_process(
            _resident_growth, runtime, path, threads, tuple(x.shape)
        ),
    )


def _quantize(source: Path, setup: Setup) -> Path:
    from ..deploy.int8 import quantize_onnx

    target = source.with_name('int8.onnx')
    # Speed does not depend on what the images show.
    shape = (1, 3, *setup.shape)
    random = np.random.default_rng(0)
    quantize_onnx(source, target, [random.standard_normal(shape, np.float32)] * 2)
    return target


def _load(runtime: str, path: Path, threads: int) -> Session:
    # onnxruntime itself runs int8 no faster than float32.
    load = open_onnxruntime if runtime == 'onnxruntime' else open_openvino
    return load(path, threads)


def _in_fresh_process(function: Callable, *args):
    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        return executor.submit(function, *args).result()


def _resident_growth(
    runtime: str, path: Path, threads: int, shape: Sequence[int]
) -> int | None:
    """Bytes by which loading a file and running it make a process grow.

    At the peak of the run: what loading alone needs is not in it.
    """
    clear = Path('/proc/self/clear_refs')
    if not clear.exists():
        return None
    images = np.ones(shape, np.float32)
    import_module(RUNTIMES[runtime][-1])  # not the model's
    before = _resident('VmRSS')
    run = _load(runtime, path, threads)
    clear.write_text('5')  # VmHWM starts again
    run(images)
    return _resident('VmHWM') - before


def _resident(entry: str) -> int:
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'^{entry}:\s*(\d+) kB$', status, re.M)[1]) * 1024
