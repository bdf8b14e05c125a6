"""A model in each runtime: its outputs, its memory, a training step."""

import math
from itertools import pairwise
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from lightvit_mm import LightViT, installed
from lightvit_mm.analysis import runtimes
from lightvit_mm.analysis.complexity import count_parameters
from lightvit_mm.analysis.plain import PlainLightViT
from lightvit_mm.analysis.runtimes import Setup

TINY = dict(
    embed_dims=(8, 16), depths=(1, 1), num_heads=(2, 2), mlp_ratios=(2, 2), num_tokens=3
)


# Inference


def test_pytorch_runtimes_return_the_outputs(monkeypatch):
    compile = torch.compile
    compiled = []

    def compile_quickly(model, dynamic):
        compiled.append(model)
        return compile(model, dynamic=dynamic, backend='eager')

    monkeypatch.setattr(torch, 'compile', compile_quickly)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Sigmoid())
    setup = Setup(['plain', 'eager', 'compiled'])
    for runtime in setup.runtimes:
        running = runtimes.start(runtime, model, setup, None)
        assert running.size == 4 * (192 * 4 + 4)
        x = torch.randn(3, 3, 8, 8)
        torch.testing.assert_close(running.run(x), model(x), rtol=1e-4, atol=1e-4)
    assert compiled == [model]


def test_plain_runtime_runs_plain_lightvit(monkeypatch):
    monkeypatch.setattr(PlainLightViT, 'forward', lambda self, x: 'plain')
    model = LightViT(TINY, out_indices=(1,))
    running = runtimes.start('plain', model, Setup(['plain']), None)
    assert running.run(torch.zeros(1, 3, 8, 8)) == 'plain'


@pytest.mark.parametrize(
    'runtime, tolerance', [('onnxruntime', 1e-4), ('openvino', 1e-4), ('int8', 0.03)]
)
def test_exported_files_return_the_outputs(runtime, tolerance, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    model = LightViT(TINY, out_indices=(0, 1))
    setup = Setup([runtime], shape=(64, 96))
    running = runtimes.start(runtime, model, setup, tmp_path)
    path = tmp_path / ('int8.onnx' if runtime == 'int8' else 'model.onnx')
    assert running.size == path.stat().st_size
    for n in (3, 1):
        x = torch.randn(n, 3, 64, 96)
        with torch.no_grad():
            expected = model(x)
        outs = running.run(x)
        assert len(outs) == 2
        errors = [
            (torch.from_numpy(out) - right).norm() / right.norm()
            for out, right in zip(outs, expected)
        ]
        assert max(errors) < tolerance
        # Equal outputs would mean that nothing was quantised.
        assert runtime != 'int8' or max(errors) > 1e-3


def test_files_use_as_many_threads_as_pytorch(monkeypatch, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    openvino = pytest.importorskip('openvino')
    used = []

    class Core:
        def compile_model(self, path, device, config):
            used.append(config['INFERENCE_NUM_THREADS'])
            assert config['INFERENCE_PRECISION_HINT'] == 'f32'

    def session(path, options, providers):
        used.append(options.intra_op_num_threads)
        return MagicMock()

    monkeypatch.setattr(openvino, 'Core', Core)
    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    (tmp_path / 'model.onnx').touch()
    torch.set_num_threads(2)
    for runtime in ('onnxruntime', 'openvino'):
        runtimes.start(runtime, nn.Identity(), Setup([runtime]), tmp_path)
    assert used == [2, 2]


def test_peak_memory_of_a_file_includes_the_weights(tmp_path):
    pytest.importorskip('onnxruntime')
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 200_000))
    setup = Setup(['onnxruntime'], shape=(8, 8))
    running = runtimes.start('onnxruntime', model, setup, tmp_path)
    weights = runtimes.weight_bytes(model)
    peak = running.peak_memory(torch.zeros(10, 3, 8, 8))
    assert weights < running.size < weights + 10_000
    assert weights < peak < 2 * weights


@pytest.mark.parametrize(
    'dtype, expected', [('fp32', torch.float32), ('bf16', torch.bfloat16)]
)
def test_dtype_sets_the_precision_of_inference(dtype, expected):
    run = runtimes.prepare(nn.Linear(3, 4), 'cpu', dtype)
    output = run(torch.zeros(2, 3))
    assert output.dtype == expected and output.is_inference()


@pytest.mark.parametrize(
    'widths, held',
    [
        ((10, 10, 20, 40), 60),  # the first output is freed before the third
        ((10, 70, 5, 5), 75),
    ],
)
def test_peak_memory_counts_live_activations(widths, held):
    model = nn.Sequential(*[nn.Linear(c, d) for c, d in pairwise(widths)])
    model.register_buffer('unused', torch.zeros(100, dtype=torch.float64))
    x = torch.zeros(1000, widths[0])
    run = runtimes.prepare(model, 'cpu')
    run(x)
    peak = runtimes.peak_memory(model, lambda: run(x), 'cpu')
    assert peak == 4 * count_parameters(model) + 800 + 4 * 1000 * held


# Training


def test_training_step_includes_the_backward_pass():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1000), nn.Dropout(0.5))
    reached = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: reached.append((name, bool(p.grad.any())))
        )
    setup = Setup(mode='training')
    running = runtimes.start('eager', model.eval(), setup, None)
    assert model.training
    x = torch.randn(2, 3, 8, 8)
    running.run(x)
    assert sorted(reached) == [('1.bias', True), ('1.weight', True)]
    # Gradients count in the peak of this step and do not stay for the next.
    assert all(p.grad is None for p in model.parameters())
    weights = runtimes.weight_bytes(model)
    assert 2 * weights < running.peak_memory(x) < 2.5 * weights


def test_training_step_runs_in_mixed_precision():
    seen = []
    model = nn.Linear(3, 4)
    model.register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    runtimes.prepare_step(model, 'cpu', 'bf16')(torch.zeros(2, 3))
    assert seen == [torch.bfloat16]


def test_loss_of_scores_and_of_maps():
    scores = torch.zeros(5, 7, requires_grad=True)
    assert runtimes._loss(scores).item() == pytest.approx(math.log(7))
    maps = [
        torch.full((1, 2, s, s), s, dtype=torch.float32, requires_grad=True)
        for s in (2, 3)
    ]
    boxes = torch.full((4, 4), 9.0)  # without a gradient
    assert runtimes._loss((maps, boxes)).item() == pytest.approx(4 + 9)


# Misuse


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(rounds=0), 'rounds=0 should be at least 1'),
        (dict(batch_sizes=(2, -1)), 'batch_size=-1 should be at least 1'),
        (dict(shape=(0, 5)), 'shape=0 should be at least 1'),
        (dict(runtimes=['jax']), "runtime='jax' should be one of"),
        (dict(mode='test'), "mode='test' should be one of"),
        (dict(dtype='fp8'), "dtype='fp8' should be one of"),
        (dict(device='tpu'), "device='tpu' should be one of"),
        (dict(with_cp=True), "with_cp needs mode='training'"),
        (
            dict(runtimes=['int8'], mode='training'),
            "'int8' supports only inference in fp32 on cpu, not training in fp32",
        ),
        (dict(runtimes=['openvino'], dtype='bf16'), 'not inference in bf16'),
    ],
)
def test_bad_setup_is_an_error(changed, message):
    with pytest.raises(ValueError, match=message):
        Setup(**changed)


def test_missing_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match="choose 'cpu'"):
        Setup(device='cuda')


def test_missing_runtime_is_an_error(monkeypatch):
    monkeypatch.setattr(
        installed, 'find_spec', lambda name: None if name == 'openvino' else name
    )
    Setup(['onnxruntime'])
    for runtime in ('openvino', 'int8'):
        with pytest.raises(ModuleNotFoundError, match='pip install openvino'):
            Setup([runtime])
